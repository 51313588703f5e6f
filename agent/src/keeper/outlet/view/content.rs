//! What one reader is shown, and the bytes of a file for it.

use std::sync::Arc;

use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Kind, Subject};
use reverie_core::certificate_file::CertificateFile;
use reverie_core::config::Identity;
use reverie_core::id::{IdentityName, SecretName};
use reverie_core::ipc::view::Reply;
use reverie_core::rule::Rule;
use reverie_core::view::{SeenIdentity, SeenSecret, Sight, ViewedFile};

use crate::keeper::identity::issuance::subject;
use crate::keeper::identity::issuers::Issuers;
use crate::keeper::identity::rotation;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::identities::judged;
use crate::keeper::local::peer::Peer;
use crate::keeper::outlet::content::{record, render, shared};
use crate::keeper::outlet::pins;
use crate::keeper::{Keeper, clock};

/// In the audit log.
const HOW: &str = "by the file view";

/// What does not exist for a reader.
pub(super) fn nothing(what: &str) -> Failure {
    Problem::new(Code::NotPermitted, what).into()
}

/// A user that asks too often.
pub(super) fn too_many() -> Failure {
    Problem::new(Code::TooMany, "this user opens too many files of the view").into()
}

/// Everything the reader has. Makes nothing: what was never made has no size yet.
pub(super) async fn look(keeper: &Arc<Keeper>, peer: &Peer) -> Result<Sight, Failure> {
    let policy = keeper.policy();
    let own = judged(keeper, peer, &policy).await?;
    let issuers = keeper.issuers();
    let identities = own.iter().map(|rule| SeenIdentity { name: rule.name.clone(), sizes: sizes(keeper, rule, &issuers) });
    let mut sight = Sight { identities: identities.collect(), secrets: vec![] };
    for secret in policy.secrets.values().filter(|secret| secret.is_readable_by(&own)) {
        if let Some(stored) = keeper.secrets.read(&keeper.state, &secret.declared.name)? {
            sight.secrets.push(SeenSecret { name: secret.declared.name.clone(), size: stored.value.len() as u64 });
        }
    }
    Ok(sight)
}

fn sizes(keeper: &Keeper, rule: &Rule, issuers: &Issuers) -> [u64; CertificateFile::ALL.len()] {
    let kept = keeper.store.current(&rule.name).filter(|kept| kept.is_usable(clock::now()));
    let (chain, key) = kept.map_or((0, 0), |kept| (kept.chain_pem.len(), kept.key_pem.len()));
    CertificateFile::ALL.map(|file| {
        let size = match file {
            CertificateFile::Chain => chain,
            CertificateFile::Key => key,
            CertificateFile::Combined => chain + key,
            CertificateFile::Ca | CertificateFile::Bundle | CertificateFile::Revoked => shared(issuers, file).len(),
        };
        size as u64
    })
}

/// The bytes of a file. What holds a key or a secret is in the audit log before the reader has it; that may take long, so whether the
/// reader may have it is looked at before and after.
pub(super) async fn open(keeper: &Arc<Keeper>, peer: &Peer, file: &ViewedFile) -> Result<Reply, Failure> {
    let bytes = match file {
        ViewedFile::Certificate(name, file) => certificate(keeper, peer, name, *file).await?,
        ViewedFile::Secret(name) => secret(keeper, peer, name).await?,
    };
    // Whom the bytes are for must not have become another meanwhile.
    peer.check_alive()?;
    Ok(Reply::Content(bytes))
}

/// The identity, if the reader has it by the configuration of now.
async fn held(keeper: &Keeper, peer: &Peer, name: &IdentityName) -> Result<Identity, Failure> {
    let policy = keeper.policy();
    let own = judged(keeper, peer, &policy).await?;
    let identity = policy.identities.get(name).filter(|_| own.iter().any(|rule| rule.name == *name));
    identity.map(|identity| identity.declared.clone()).ok_or_else(|| nothing("no such identity for this process"))
}

async fn certificate(keeper: &Arc<Keeper>, peer: &Peer, name: &IdentityName, file: CertificateFile) -> Result<Vec<u8>, Failure> {
    let identity = held(keeper, peer, name).await?;
    if file.is_shared() {
        return Ok(shared(&keeper.issuers(), file).to_vec());
    }
    let generation = pins::generation(keeper, peer, name, file).await?;
    if file.is_private() {
        let subject = Subject { serial: Some(generation.serial.to_string()), ..subject(&identity) };
        record(keeper, &peer.caller, Kind::CertificateRead, subject, HOW).await?;
        held(keeper, peer, name).await?;
        rotation::check_still_counts(keeper, &generation)?;
    }
    Ok(std::mem::take(&mut *render(&generation, &keeper.issuers(), file)))
}

async fn check_may_read(keeper: &Keeper, peer: &Peer, name: &SecretName) -> Result<(), Failure> {
    let policy = keeper.policy();
    let own = judged(keeper, peer, &policy).await?;
    let may = policy.secrets.get(name).is_some_and(|secret| secret.is_readable_by(&own));
    if may { Ok(()) } else { Err(nothing("no such secret for this process")) }
}

async fn secret(keeper: &Arc<Keeper>, peer: &Peer, name: &SecretName) -> Result<Vec<u8>, Failure> {
    check_may_read(keeper, peer, name).await?;
    let stored = keeper.secrets.read(&keeper.state, name)?.ok_or_else(|| nothing("no value"))?;
    record(keeper, &peer.caller, Kind::SecretRead, Subject { secret: Some(name.to_string()), ..Subject::default() }, HOW).await?;
    check_may_read(keeper, peer, name).await?;
    Ok(stored.value.to_vec())
}
