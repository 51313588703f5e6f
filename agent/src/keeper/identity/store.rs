//! The current certificate of each identity the agent keeps: one writer publishes immutable generations, many watch.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use reverie_core::api::local::CertificateSummary;
use reverie_core::ca::Serial;
use reverie_core::config::Identity;
use reverie_core::id::{IdentityName, SpiffeId};
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use zeroize::Zeroizing;

/// One certificate with its key. Every outlet renders this.
#[derive(Clone, Serialize, Deserialize)]
pub struct Generation {
    /// Whose.
    pub identity: IdentityName,
    /// What it says.
    pub spiffe_id: SpiffeId,
    /// Its serial.
    pub serial: Serial,
    /// From when to when.
    pub validity: Validity,
    /// When to make the next.
    pub renew_at: Moment,
    /// Counts up.
    pub number: u64,
    /// Fingerprint of the intermediate.
    pub issuer: String,
    /// Leaf, then intermediate.
    pub chain_pem: String,
    /// PKCS #8.
    pub key_pem: Zeroizing<String>,
    /// What it was made from: another one is made when the declaration changes.
    pub made_from: String,
    /// Not stored: the register knows, and is asked at each start.
    #[serde(skip)]
    pub revoked: bool,
    /// Its intermediate signs no more: another one is to be made. Good until then; not stored either.
    #[serde(skip)]
    pub superseded: bool,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generation({} #{} {})", self.identity, self.number, self.serial)
    }
}

impl Generation {
    /// True if it is not valid yet: made by a clock that ran ahead. Backdating covers less.
    pub fn is_of_the_future(&self, now: Moment) -> bool {
        self.validity.not_before > now
    }

    /// True if it may be handed out. One that is due is good until it ends: what keeps the agent from renewing must not
    /// keep it from handing out.
    pub fn is_usable(&self, now: Moment) -> bool {
        !self.revoked && self.validity.contains(now)
    }

    /// True if it says what its holder is declared to be. One of another name is somebody else's, also if it is to be replaced soon.
    pub fn names(&self, declared: &Identity) -> bool {
        self.identity == declared.name && self.made_from.starts_with(&names(declared))
    }

    /// True if another one is to be made.
    pub fn is_due(&self, now: Moment) -> bool {
        self.revoked || self.superseded || self.renew_at <= now || self.is_of_the_future(now)
    }

    /// For listings.
    pub fn summary(&self) -> CertificateSummary {
        CertificateSummary {
            serial: self.serial.to_string(),
            not_before: self.validity.not_before,
            not_after: self.validity.not_after,
            renew_at: Some(self.renew_at),
            revoked_at: None,
            generation: Some(self.number),
        }
    }
}

/// All that a certificate takes from its declaration.
pub fn made_from(identity: &Identity) -> String {
    let Identity { ttl, key, .. } = identity;
    format!("{}{ttl} {key:?}", names(identity))
}

/// Of that, what it says its holder is.
fn names(identity: &Identity) -> String {
    let Identity { spiffe_id, dns, ip, .. } = identity;
    format!("{spiffe_id} {dns:?} {ip:?} ")
}

/// The current generations.
#[derive(Debug)]
pub struct Store {
    current: RwLock<BTreeMap<IdentityName, Arc<Generation>>>,
    published: broadcast::Sender<Arc<Generation>>,
}

impl Default for Store {
    fn default() -> Self {
        Self { current: RwLock::default(), published: broadcast::channel(256).0 }
    }
}

impl Store {
    /// The current generation.
    pub fn current(&self, name: &IdentityName) -> Option<Arc<Generation>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Every current generation, by name.
    pub fn all(&self) -> Vec<Arc<Generation>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Makes `generation` the current one. It must be durable already.
    pub fn publish(&self, generation: Generation) -> Arc<Generation> {
        let generation = Arc::new(generation);
        let name = generation.identity.clone();
        self.current.write().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::clone(&generation));
        // No watcher is not an error.
        let _ = self.published.send(Arc::clone(&generation));
        generation
    }

    /// Those of the current ones are revoked. Nobody is told: what they get next says it.
    pub fn mark_revoked(&self, is_revoked: impl Fn(&Generation) -> bool) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        for kept in current.values_mut().filter(|kept| !kept.revoked && is_revoked(kept)) {
            *kept = Arc::new(Generation { revoked: true, ..Generation::clone(kept) });
        }
    }

    /// Another one is to be made in place of `generation`, if it is the current one still.
    pub fn mark_superseded(&self, generation: &Generation) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = current.get_mut(&generation.identity).filter(|kept| kept.serial == generation.serial) {
            *kept = Arc::new(Generation { superseded: true, ..Generation::clone(kept) });
        }
    }

    /// Forgets an identity that is no longer declared.
    pub fn withdraw(&self, name: &IdentityName) {
        self.current.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Publications from now on. One who falls behind reads [`Store::current`] anew.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Generation>> {
        self.published.subscribe()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// From 100 to 200, due at 150.
    pub fn generation(number: u64) -> Arc<Generation> {
        let at = Moment::from_secs;
        Arc::new(Generation {
            identity: "web".parse().unwrap(),
            spiffe_id: "spiffe://example.org/svc/web".parse().unwrap(),
            serial: Serial::from_random([7; 16]),
            validity: Validity { not_before: at(100), not_after: at(200) },
            renew_at: at(150),
            number,
            issuer: String::new(),
            chain_pem: String::new(),
            key_pem: Zeroizing::new(String::new()),
            made_from: String::new(),
            revoked: false,
            superseded: false,
        })
    }

    #[test]
    fn what_is_due_is_handed_out_until_it_ends_and_what_is_revoked_is_not() {
        let at = Moment::from_secs;
        let store = Store::default();
        let kept = store.publish(Generation::clone(&generation(1)));
        let seen =
            |generation: &Generation| [50, 120, 170, 250].map(|now| (generation.is_due(at(now)), generation.is_usable(at(now))));
        assert_eq!(seen(&kept), [(true, false), (false, true), (true, true), (true, false)]);
        store.mark_revoked(|known| known.number == 2);
        assert!(store.current(&kept.identity).unwrap().is_usable(at(120)), "another one is");
        store.mark_revoked(|known| known.serial == kept.serial);
        assert_eq!(seen(&store.current(&kept.identity).unwrap()), [(true, false); 4]);
    }
}
