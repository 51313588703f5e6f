//! Whom tunnels believe: the bundle, the issuers that may be in a chain, what their hosts may issue, and what is revoked.
//!
//! Lists are not passed on as they are: the keeper has verified each when it came, and a verifier that does so for every handshake
//! pays for the longest of them every time.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reverie_core::id::NodeId;
use reverie_core::ipc::tunnel::{Fingerprint, Issuer, MAX_TRUST, Reply, Trust};
use reverie_core::moment::Moment;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::keeper::Keeper;
use crate::keeper::identity::issuers::{Issuers, StoredIssuer};
use crate::ops::channel::{Answer, ChannelError, attach};

/// Of the alarm when the role cannot be told.
pub(super) const SUBJECT: &str = "trust of tunnels";
/// Before it hears so; within its deadline.
const PAUSE: Duration = Duration::from_secs(5);

/// The trust in force, and what it was made from.
#[derive(Debug, Default)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) trust: Arc<Trust>,
    /// As it is handed over, once it was asked for: one for all questions, since the role may ask without end.
    sealed: Arc<Mutex<Option<OwnedFd>>>,
    from: Option<Arc<Issuers>>,
}

impl Numbered {
    /// The same with another number, if trust is another one.
    pub(super) fn follow(&mut self, issuers: &Arc<Issuers>, node: &NodeId) {
        if self.from.as_ref().is_some_and(|from| Arc::ptr_eq(from, issuers)) {
            return;
        }
        let trust = build(issuers, node);
        if self.number == 0 || *self.trust != trust {
            (self.number, self.trust, self.sealed) = (self.number + 1, Arc::new(trust), Arc::default());
        }
        self.from = Some(Arc::clone(issuers));
    }

    /// True if that issuer, hex, is known to have revoked that serial.
    pub(super) fn is_revoked(&self, issuer: &str, serial: &str) -> bool {
        let (Some(issuer), Some(serial)) = (raw(issuer), bytes(serial)) else { return true };
        self.trust.issuers.get(&issuer).is_some_and(|issuer| issuer.revoked.contains(&canonical(&serial)))
    }
}

/// The trust of that number, for the role.
pub(super) async fn tell(keeper: &Keeper, number: u64) -> Answer<Reply> {
    let trust = {
        let known = keeper.tunnels.trust.lock().unwrap_or_else(PoisonError::into_inner);
        (known.number == number).then(|| (Arc::clone(&known.trust), Arc::clone(&known.sealed)))
    };
    let Some((trust, sealed)) = trust else { return Reply::Failed("there is a newer one".to_owned()).into() };
    // Megabytes, with long lists.
    match tokio::task::spawn_blocking(move || seal(&trust, &sealed)).await {
        Ok(Ok(attached)) => {
            keeper.alarms.clear(SUBJECT);
            Answer::with(Reply::Trust, attached)
        }
        Ok(Err(error)) => {
            let why = format!("tunnels go on by what was trusted before, since they cannot be told what is now: {error}");
            keeper.alarms.raise(SUBJECT, why.clone());
            // Or it asks again at once.
            tokio::time::sleep(PAUSE).await;
            Reply::Failed(why).into()
        }
        Err(_) => Reply::Failed("the agent is stopping".to_owned()).into(),
    }
}

fn seal(trust: &Trust, sealed: &Mutex<Option<OwnedFd>>) -> Result<OwnedFd, ChannelError> {
    let mut sealed = sealed.lock().unwrap_or_else(PoisonError::into_inner);
    let memfd = match sealed.take() {
        Some(memfd) => memfd,
        None => attach(trust, MAX_TRUST)?,
    };
    Ok(sealed.insert(memfd).try_clone()?)
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()
}

fn raw(fingerprint: &str) -> Option<Fingerprint> {
    bytes(fingerprint)?.try_into().ok()
}

/// Without the zeros that DER puts before, or a decoder leaves away.
fn canonical(serial: &[u8]) -> Vec<u8> {
    serial.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn build(issuers: &Issuers, node: &NodeId) -> Trust {
    let (stored, mesh) = (&issuers.stored, &issuers.mesh);
    let record = &stored.record;
    let bundle = mesh.bundle(stored);
    let mut trust = Trust { roots: bundle.iter().map(|(_, der)| der.clone()).collect(), ..Trust::default() };
    let everything = || vec!["/".to_owned()];
    let mut put = |fingerprint: &str, host: &NodeId, spiffe: Option<Vec<String>>| {
        let own = stored.issuers.iter().find(|known| known.fingerprint == fingerprint);
        let (mut revoked, mut list_ends) = own.and_then(own_list).unwrap_or_default();
        if let Some(list) = mesh.lists.get(fingerprint) {
            revoked.extend(list.serials.iter().filter_map(|serial| bytes(serial)).map(|serial| canonical(&serial)));
            list_ends = list_ends.max(Some(list.validity.not_after));
        }
        revoked.extend(mesh.revoked_of(fingerprint).filter_map(|(serial, _)| bytes(serial)).map(|serial| canonical(&serial)));
        if let Some(fingerprint) = raw(fingerprint) {
            trust.issuers.insert(fingerprint, Issuer { host: host.clone(), spiffe, revoked, list_ends });
        }
    };
    for (fingerprint, _) in &bundle {
        put(fingerprint, mesh.roots.get(fingerprint).map_or(node, |root| &root.node), None);
    }
    for (fingerprint, known) in &mesh.intermediates {
        put(fingerprint, &known.node, Some(mesh.limits.get(&known.node).map_or_else(everything, |limits| limits.spiffe.clone())));
    }
    let own = record.intermediates.iter().filter(|own| !own.retired && !record.membership.distrusted.contains(&own.fingerprint));
    for known in own {
        put(&known.fingerprint, node, Some(mesh.limits.get(node).map_or_else(everything, |limits| limits.spiffe.clone())));
    }
    trust
}

/// Serials in the list of an issuer of this host, and its end.
fn own_list(issuer: &StoredIssuer) -> Option<(BTreeSet<Vec<u8>>, Option<Moment>)> {
    let list = CertificateRevocationList::from_der(&issuer.crl).ok()?.1;
    let serials = list.iter_revoked_certificates().map(|entry| canonical(entry.raw_serial())).collect();
    Some((serials, list.next_update().map(|end| Moment::from_secs(end.timestamp()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_the_same_with_the_zero_that_der_puts_before_it() {
        assert_eq!(canonical(&[0, 0x80, 1]), canonical(&[0x80, 1]));
        assert_eq!(canonical(&[1, 0]), [1, 0]);
    }
}
