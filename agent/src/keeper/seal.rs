//! The root secret: handed over by systemd, or unsealed here.

use std::path::Path;
use std::time::SystemTime;

use reverie_core::api::admin::SealStatus;
use reverie_core::config::Seal;
use reverie_tpm::root::{self, Backends};
use reverie_tpm::{Choice, Policy};
use zeroize::Zeroizing;

use crate::ops::host::Host;

/// The root secret, and how it was sealed.
pub struct Unsealed {
    /// 32 bytes that wrap everything else.
    pub secret: Zeroizing<[u8; 32]>,
    /// For `agentctl status`.
    pub status: SealStatus,
}

/// Why the root secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the root secret cannot be unsealed: {0}")]
pub struct SealFailure(String);

/// How sealing is configured, in the terms of the crate that seals.
pub fn terms(host: &Host, seal: &Seal) -> Result<(Backends, Choice, Policy), SealFailure> {
    let mut backends = Backends::new(&host.seal);
    backends.tpm2_device.clone_from(&seal.tpm2_device);
    let choice = crate::sealing::choice(seal.mode);
    let policy = Policy::new(seal.pcrs.iter().copied()).map_err(|error| SealFailure(error.to_string()))?;
    Ok((backends, choice, policy))
}

/// From `$CREDENTIALS_DIRECTORY` if systemd unsealed it for us; else from the seal directory, made at first start.
pub fn unseal(host: &Host, seal: &Seal) -> Result<Unsealed, SealFailure> {
    let failed = |error: root::RootError| SealFailure(error.to_string());
    if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY")
        && Path::new(&folder).join("reverie-root").exists()
    {
        let secret = root::from_systemd_credential(Path::new(&folder)).map_err(failed)?;
        let status =
            handed_over(root::record_from_systemd(Path::new(&folder)), crate::sealing::choice(seal.mode)).map_err(failed)?;
        return Ok(Unsealed { secret: Zeroizing::new(*secret.expose()), status });
    }
    let (backends, choice, policy) = terms(host, seal)?;
    make_directory(&host.seal)?;
    let opened = match root::open(&host.seal, &backends, choice) {
        Err(root::RootError::Absent { .. }) if is_new(host) => {
            root::create(&host.seal, &backends, choice, &policy, SystemTime::now()).map_err(failed)?
        }
        other => other.map_err(failed)?,
    };
    for warning in &opened.warnings {
        tracing::warn!("{warning}");
    }
    let status = SealStatus {
        mode: opened.record.mode.to_string(),
        pcrs: opened.record.bound_pcrs.clone(),
        remark: Some(opened.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            .filter(|text| !text.is_empty()),
    };
    Ok(Unsealed { secret: Zeroizing::new(*opened.secret.expose()), status })
}

/// What is known of a seal that systemd opened; refused if it is known to be another than the configured one.
fn handed_over(record: Option<root::Record>, choice: Choice) -> Result<SealStatus, root::RootError> {
    match (record, choice) {
        (Some(record), Choice::Fixed(asked)) if asked != record.mode => {
            Err(root::RootError::OtherMode { recorded: record.mode, asked })
        }
        (Some(record), _) => Ok(SealStatus { mode: record.mode.to_string(), pcrs: record.bound_pcrs, remark: None }),
        (None, choice) => {
            let what = "opened by systemd, which does not say how it is sealed";
            let remark = match choice {
                Choice::Auto => format!("{what}: as root, `reverie-agent seal show` does"),
                Choice::Fixed(asked) => {
                    format!("{what}, so whether by {asked}, as configured, is not known: as root, `reverie-agent seal show` says")
                }
            };
            tracing::warn!("the root secret was {remark}");
            Ok(SealStatus { mode: "systemd".to_owned(), pcrs: vec![], remark: Some(remark) })
        }
    }
}

/// A root secret is only ever made for a host that has no store: a store without its secret is lost, not new.
fn is_new(host: &Host) -> bool {
    !host.state.join("store.redb").exists() && !host.state.join("store.id").exists()
}

fn make_directory(path: &Path) -> Result<(), SealFailure> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) => Err(SealFailure(format!("cannot make the directory {}: {error}", path.display()))),
    }
}
