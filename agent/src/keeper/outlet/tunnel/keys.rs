//! The keys of the identities that tunnels show. A key leaves no copy: only handshakes are signed, of a shape written here.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use reverie_core::id::{IdentityName, TunnelName};
use reverie_core::ipc::net::Side;
use reverie_core::ipc::tunnel::{Reply, Shown};

use super::{declared, unknown};
use crate::keeper::identity::rotation;
use crate::keeper::identity::store::Generation;
use crate::keeper::{Keeper, clock};
use crate::ops::certificate_verify;

/// A generation that was replaced still signs for so long: the role hears of the next one, and handshakes are on their way.
const OVERLAP: Duration = Duration::from_secs(30);

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

struct Held {
    generation: Arc<Generation>,
    key: Arc<Key>,
    chain: Vec<Vec<u8>>,
    replaced: Option<Instant>,
}

/// By identity: the newest last.
#[derive(Default)]
pub(super) struct Keys(BTreeMap<IdentityName, Vec<Held>>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn read(generation: &Arc<Generation>) -> Option<Held> {
    let chain = pem::parse_many(&generation.chain_pem).ok()?.into_iter().map(pem::Pem::into_contents).collect();
    let der = pem::parse(generation.key_pem.as_bytes()).ok()?;
    let der = zeroize::Zeroizing::new(der.into_contents());
    let key = match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der) {
        Ok(key) => Key::P256(key),
        Err(_) => Key::Ed25519(Ed25519KeyPair::from_pkcs8(&der).ok()?),
    };
    Some(Held { generation: Arc::clone(generation), key: Arc::new(key), chain, replaced: None })
}

impl Keys {
    /// Takes the current generation of an identity, and says what a tunnel shows of it.
    pub(super) fn show(&mut self, generation: &Arc<Generation>) -> Option<Shown> {
        let held = self.0.entry(generation.identity.clone()).or_default();
        if held.last().is_none_or(|newest| newest.generation.serial != generation.serial) {
            for old in held.iter_mut() {
                old.replaced.get_or_insert_with(Instant::now);
            }
            held.push(read(generation)?);
        }
        held.retain(|old| old.replaced.is_none_or(|at| at.elapsed() < OVERLAP));
        let newest = held.last()?;
        Some(Shown {
            serial: newest.generation.serial.to_string(),
            chain: newest.chain.clone(),
            is_ed25519: matches!(*newest.key, Key::Ed25519(_)),
        })
    }

    /// Forgets identities that no tunnel shows, and generations that are replaced or `revoked`.
    pub(super) fn keep(&mut self, wanted: &[IdentityName], revoked: impl Fn(&Generation) -> bool) {
        self.0.retain(|name, _| wanted.contains(name));
        for held in self.0.values_mut() {
            held.retain(|one| !revoked(&one.generation) && one.replaced.is_none_or(|at| at.elapsed() < OVERLAP));
        }
    }

    /// One that still signs, unless it is revoked: that is asked for at each signature.
    fn find(&self, identity: &IdentityName, serial: &str) -> Option<(Arc<Generation>, Arc<Key>)> {
        let held = self.0.get(identity)?.iter().find(|held| held.generation.serial.to_string() == serial)?;
        let signs = held.generation.validity.contains(clock::now()) && held.replaced.is_none_or(|at| at.elapsed() < OVERLAP);
        signs.then(|| (Arc::clone(&held.generation), Arc::clone(&held.key)))
    }
}

pub(super) fn sign(keeper: &Keeper, tunnel: &TunnelName, serial: &str, side: Side, transcript: &[u8]) -> Reply {
    let Some(declared) = declared(keeper, tunnel) else { return unknown(tunnel) };
    if declared.is_client() != (side == Side::Client) {
        return Reply::Failed("the tunnel is on the other side of its handshakes".to_owned());
    }
    let Some(content) = certificate_verify::content(side, transcript) else {
        return Reply::Failed("a transcript hash has 32 or 48 bytes".to_owned());
    };
    let held = keeper.tunnels.keys.lock().unwrap_or_else(PoisonError::into_inner).find(&declared.identity, serial);
    // The moment it is revoked, or declared otherwise, not when the role hears of it; the one before, too.
    match held.filter(|(generation, _)| rotation::check_still_counts(keeper, generation).is_ok()) {
        Some((_, key)) => key.sign(&content),
        None => Reply::Failed("the certificate is not the current one of the tunnel's identity, or was revoked".to_owned()),
    }
}

impl Key {
    fn sign(&self, content: &[u8]) -> Reply {
        match self {
            Self::P256(key) => match key.sign(&SystemRandom::new(), content) {
                Ok(signature) => Reply::Signature(signature.as_ref().to_vec()),
                Err(_) => Reply::Failed("signing failed".to_owned()),
            },
            Self::Ed25519(key) => Reply::Signature(key.sign(content).as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use reverie_core::ca::Serial;
    use reverie_core::moment::Moment;
    use reverie_core::renewal::Validity;
    use zeroize::Zeroizing;

    use super::*;

    fn generation(number: u8, key: &rcgen::KeyPair) -> Arc<Generation> {
        let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(key).unwrap();
        Arc::new(Generation {
            identity: "web".parse().unwrap(),
            spiffe_id: "spiffe://example.org/svc/web".parse().unwrap(),
            serial: Serial::from_random([number; 16]),
            validity: Validity { not_before: Moment::from_secs(0), not_after: clock::now().after(OVERLAP) },
            renew_at: clock::now(),
            number: number.into(),
            issuer: String::new(),
            chain_pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
            made_from: String::new(),
            revoked: false,
            superseded: false,
        })
    }

    #[test]
    fn the_one_before_signs_on_for_a_while_and_a_revoked_one_does_not() {
        let (p256, ed25519) = (&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519);
        let one = generation(1, &rcgen::KeyPair::generate_for(p256).unwrap());
        let two = generation(2, &rcgen::KeyPair::generate_for(ed25519).unwrap());
        let mut keys = Keys::default();
        assert!(!keys.show(&one).unwrap().is_ed25519);
        assert!(keys.show(&two).unwrap().is_ed25519);
        let has =
            |keys: &Keys, generation: &Generation| keys.find(&generation.identity, &generation.serial.to_string()).is_some();
        assert!(has(&keys, &one) && has(&keys, &two));
        keys.keep(std::slice::from_ref(&one.identity), |generation| generation.serial == one.serial);
        assert!(!has(&keys, &one) && has(&keys, &two));
        keys.keep(&[], |_| false);
        assert!(!has(&keys, &two));
    }
}
