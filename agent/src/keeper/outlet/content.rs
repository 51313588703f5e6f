//! The bytes of an identity's files, and the word in the audit log that somebody has them.

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::caller::Caller;
use reverie_core::certificate_file::CertificateFile;
use zeroize::Zeroizing;

use crate::keeper::identity::issuers::Issuers;
use crate::keeper::identity::store::Generation;
use crate::keeper::local::answer::Failure;
use crate::keeper::state::Change;
use crate::keeper::{Keeper, clock};

/// A file of an identity, in PEM.
pub(super) fn render(generation: &Generation, issuers: &Issuers, file: CertificateFile) -> Zeroizing<Vec<u8>> {
    let (chain, key) = (generation.chain_pem.as_bytes(), generation.key_pem.as_bytes());
    Zeroizing::new(match file {
        CertificateFile::Chain => chain.to_vec(),
        CertificateFile::Key => key.to_vec(),
        CertificateFile::Combined => [chain, key].concat(),
        CertificateFile::Ca | CertificateFile::Bundle | CertificateFile::Revoked => shared(issuers, file).to_vec(),
    })
}

/// What is the same for every identity; empty for what is not.
pub(super) fn shared(issuers: &Issuers, file: CertificateFile) -> &[u8] {
    match file {
        CertificateFile::Ca | CertificateFile::Bundle => issuers.bundle_pem.as_bytes(),
        CertificateFile::Revoked => issuers.crl_pem.as_bytes(),
        CertificateFile::Chain | CertificateFile::Key | CertificateFile::Combined => &[],
    }
}

/// What is handed out, recorded before it is; `how` says by which way.
pub(super) async fn record(keeper: &Keeper, caller: &Caller, kind: Kind, subject: Subject, how: &str) -> Result<(), Failure> {
    let (time, reason) = (clock::now(), Some(how.to_owned()));
    let event = Event { time, kind, outcome: Outcome::Done, actor: Actor::from(caller), subject, reason };
    keeper.commit(Change { writes: vec![], events: vec![event] }).await?;
    Ok(())
}
