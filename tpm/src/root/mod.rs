//! The root secret on disk.
//!
//! A directory holds `root.cred`, the sealed secret (for every mode but `file` an ordinary systemd credential, so that
//! `LoadCredentialEncrypted=reverie-root:…/root.cred` opens it), and `root.cred.json`, its [`Record`]. Losing the
//! secret is losing all that it protects: it is never made anew where there are signs of one, never replaced before
//! its successor has been unsealed, and never sealed with less than before unless that is said outright.

mod backends;
mod error;
mod handed;
mod pair;
mod record;

#[cfg(test)]
mod crash_tests;

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

pub use backends::Backends;
pub use error::RootError;
pub use handed::{from_systemd_credential, record_from_systemd};
pub use record::{LEN, NAME, Record, RootSecret, Warning};

use crate::credential::Header;
use crate::{Choice, Evidence, KeyFile, Mode, Policy, SealError, durable};
use pair::{Pair, Step};
use record::{VERSION, passed_over_warning};

/// A root secret in the open.
#[derive(Debug)]
pub struct Opened {
    /// The secret.
    pub secret: RootSecret,
    /// How it is sealed.
    pub record: Record,
    /// What the operator should hear of.
    pub warnings: Vec<Warning>,
}

/// What [`renew`] is to do.
#[derive(Debug, Clone)]
pub struct Renewal<'a> {
    /// What to seal with; `auto` takes the strongest that works here.
    pub choice: Choice,
    /// The PCRs to bind to.
    pub policy: &'a Policy,
    /// Whether a weaker mode, or fewer PCRs than before, are meant.
    pub allow_weaker: bool,
    /// The time now, for the record.
    pub now: SystemTime,
}

/// Makes a root secret in `dir`, which must exist and hold none.
pub fn create(
    dir: &Path,
    backends: &Backends,
    choice: Choice,
    policy: &Policy,
    created: SystemTime,
) -> Result<Opened, RootError> {
    let pair = Pair::lock(dir)?;
    if pair.load()?.is_some() {
        return Err(RootError::AlreadyThere { dir: dir.to_owned() });
    }
    let (mode, passed_over) = choose(backends, choice, policy)?;
    let secret = RootSecret::generate()?;
    let (blob, record) = seal(backends, mode, policy, &secret, created)?;
    pair.replace(&blob, &record, |_| Ok(()))?;
    verify_written(&pair, backends, &record, &secret)?;
    pair.drop_leftovers()?;
    let mut warnings = warnings_of(&record, &blob);
    warnings.extend(passed_over_warning(mode, as_text(passed_over)));
    Ok(Opened { secret, record, warnings })
}

/// Opens the root secret in `dir` with the mode it was sealed with, and no other. Completes an interrupted write.
pub fn open(dir: &Path, backends: &Backends, choice: Choice) -> Result<Opened, RootError> {
    let pair = Pair::lock(dir)?;
    let whole = pair.load()?.ok_or_else(|| RootError::Absent { dir: dir.to_owned() })?;
    if let Choice::Fixed(asked) = choice
        && asked != whole.record.mode
    {
        return Err(RootError::OtherMode { recorded: whole.record.mode, asked });
    }
    let secret = unseal(&pair, backends, &whole.record, &whole.blob)?;
    let mut warnings = warnings_of(&whole.record, &whole.blob);
    // Only now: what is left over is the way back for as long as this one has not been unsealed.
    match pair.complete(&whole).and_then(|completed| pair.drop_leftovers().map(|()| completed)) {
        Ok(true) => warnings.push(Warning::Completed),
        Ok(false) => {}
        Err(why) => warnings.push(Warning::NotTidied(why.to_string())),
    }
    if whole.record.mode == Mode::File {
        warnings.push(Warning::KeyFile { passed_over: Vec::new() });
    }
    Ok(Opened { secret, record: whole.record, warnings })
}

/// Seals the root secret in `dir` anew: with another mode, to other PCRs, or the same again. The secret stays the same.
pub fn renew(dir: &Path, backends: &Backends, renewal: &Renewal<'_>) -> Result<Opened, RootError> {
    renew_step_by_step(dir, backends, renewal, |_| Ok(()))
}

fn renew_step_by_step(
    dir: &Path,
    backends: &Backends,
    renewal: &Renewal<'_>,
    after: impl FnMut(Step) -> Result<(), SealError>,
) -> Result<Opened, RootError> {
    let pair = Pair::lock(dir)?;
    let whole = pair.load()?.ok_or_else(|| RootError::Absent { dir: dir.to_owned() })?;
    let secret = unseal(&pair, backends, &whole.record, &whole.blob)?;
    let old = &whole.record;
    let (mode, passed_over) = choose(backends, renewal.choice, renewal.policy)?;
    if mode < old.mode && !renewal.allow_weaker {
        return Err(RootError::WeakerMode { from: old.mode, to: mode });
    }
    let (blob, record) = seal(backends, mode, renewal.policy, &secret, renewal.now)?;
    let dropped: Vec<u8> = old.bound_pcrs.iter().copied().filter(|pcr| !record.bound_pcrs.contains(pcr)).collect();
    if !dropped.is_empty() && !renewal.allow_weaker {
        return Err(RootError::WeakerPolicy { dropped });
    }
    pair.complete(&whole)?;
    pair.replace(&blob, &record, after)?;
    if let Err(error) = verify_written(&pair, backends, &record, &secret) {
        pair.restore_old()?;
        return Err(error);
    }
    pair.drop_leftovers()?;
    let mut warnings = warnings_of(&record, &blob);
    warnings.extend(passed_over_warning(mode, as_text(passed_over)));
    if mode != Mode::File && old.mode == Mode::File {
        // An old copy of root.cred and the key beside it would still open the secret.
        remove_key_file(backends).unwrap_or_else(|why| warnings.push(Warning::NotTidied(why.to_string())));
    }
    Ok(Opened { secret, record, warnings })
}

/// Writes the record anew for a `root.cred` that is intact, after its record was lost. `mode` must be what it was
/// sealed with: taking it from the file would open whatever others put there.
pub fn adopt(dir: &Path, backends: &Backends, mode: Mode, now: SystemTime) -> Result<Opened, RootError> {
    let pair = Pair::lock(dir)?;
    match pair.load() {
        Ok(Some(_)) => return Err(RootError::AlreadyThere { dir: dir.to_owned() }),
        Err(RootError::RecordLost { .. }) => {}
        Ok(None) => return Err(RootError::Absent { dir: dir.to_owned() }),
        Err(error) => return Err(error),
    }
    let blob = pair.read_secret()?.ok_or_else(|| RootError::Absent { dir: dir.to_owned() })?;
    let unsealed = backends.seal_for(mode)?.unseal(NAME, &blob)?;
    let secret = RootSecret::from_slice(&unsealed).ok_or_else(|| wrong_length(&pair, unsealed.len()))?;
    let record = record_of(backends, mode, &Policy::default(), &blob, now)?;
    pair.replace(&blob, &record, |_| Ok(()))?;
    verify_written(&pair, backends, &record, &secret)?;
    pair.drop_leftovers()?;
    Ok(Opened { secret, warnings: warnings_of(&record, &blob), record })
}

/// How the root secret in `dir` is sealed; `None` if there is none and none was lost. Opens and changes nothing.
pub fn describe(dir: &Path) -> Result<Option<Record>, RootError> {
    Ok(Pair::lock(dir)?.load()?.map(|whole| whole.record))
}

fn choose(backends: &Backends, choice: Choice, policy: &Policy) -> Result<(Mode, backends::PassedOver), RootError> {
    Ok(match choice {
        Choice::Fixed(mode) => (mode, Vec::new()),
        Choice::Auto => backends.strongest(policy)?,
    })
}

fn as_text(passed_over: backends::PassedOver) -> Vec<(Mode, String)> {
    passed_over.into_iter().map(|(mode, why)| (mode, why.to_string())).collect()
}

fn unseal(pair: &Pair, backends: &Backends, record: &Record, blob: &[u8]) -> Result<RootSecret, RootError> {
    let unsealed = backends.seal_for(record.mode)?.unseal(NAME, blob).map_err(|error| {
        let error = match backends.systemd_creds(record.mode) {
            Ok(Some(creds)) => record.evidence.explain(error, blob, &creds),
            _ => error,
        };
        if error.means_unavailable() { RootError::Unavailable { mode: record.mode, source: error } } else { error.into() }
    })?;
    RootSecret::from_slice(&unsealed).ok_or_else(|| wrong_length(pair, unsealed.len()))
}

fn seal(
    backends: &Backends,
    mode: Mode,
    policy: &Policy,
    secret: &RootSecret,
    created: SystemTime,
) -> Result<(Vec<u8>, Record), RootError> {
    if mode == Mode::File {
        KeyFile::new(&backends.key_file).create()?;
    }
    let seal = backends.seal_for(mode)?;
    let blob = seal.seal(NAME, secret.expose(), policy)?;
    if seal.unseal(NAME, &blob)?.as_slice() != secret.expose() {
        return Err(RootError::NotVerified { mode });
    }
    let record = record_of(backends, mode, policy, &blob, created)?;
    Ok((blob, record))
}

fn record_of(backends: &Backends, mode: Mode, policy: &Policy, blob: &[u8], created: SystemTime) -> Result<Record, RootError> {
    let creds = backends.systemd_creds(mode)?;
    let bound_pcrs = Header::parse(blob).map(|header| header.pcrs).unwrap_or_default();
    Ok(Record {
        version: VERSION,
        name: NAME.to_owned(),
        mode,
        policy: policy.clone(),
        bound_pcrs,
        created: humantime::format_rfc3339_seconds(created).to_string(),
        evidence: Evidence::gather(blob, creds.as_ref()),
    })
}

/// Reads back from the disk and unseals.
fn verify_written(pair: &Pair, backends: &Backends, record: &Record, secret: &RootSecret) -> Result<(), RootError> {
    match pair.load()? {
        Some(whole) if unseal(pair, backends, &whole.record, &whole.blob)?.expose() == secret.expose() => Ok(()),
        _ => Err(RootError::NotVerified { mode: record.mode }),
    }
}

fn warnings_of(record: &Record, blob: &[u8]) -> Vec<Warning> {
    let unenforced = Header::parse(blob).is_ok_and(|header| header.is_unenforced());
    if unenforced { vec![Warning::Unenforced { pcrs: record.bound_pcrs.clone() }] } else { Vec::new() }
}

fn remove_key_file(backends: &Backends) -> Result<(), SealError> {
    match fs::remove_file(&backends.key_file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SealError::io("remove", &backends.key_file)(error)),
        _ => durable::sync_dir(backends.key_file.parent().unwrap_or(Path::new("/"))),
    }
}

fn wrong_length(pair: &Pair, len: usize) -> RootError {
    RootError::WrongLength { what: pair.secret_path().display().to_string(), len }
}
