//! Whether a chain holds: by a trusted root, through issuers that the keeper knows, with one SPIFFE ID that the leaf's issuer's host
//! may issue, and nothing of it revoked.
//!
//! A chain is verified once for each trust that comes; after that, its bytes are known. Whether the other side has its key, every
//! handshake proves anew. What is revoked later is found without a signature: all that counts of a chain is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use reverie_core::ca::may_issue;
use reverie_core::id::{NodeId, SpiffeId};
use reverie_core::ipc::tunnel::{self, Fingerprint, Issuer};
use reverie_core::moment::Moment;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Certificates of a chain, leaf included.
const MAX_CHAIN: usize = 4;
/// Chains that are kept.
const MAX_KNOWN: usize = 1024;

/// What counts of the other side's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub id: SpiffeId,
    /// Whose issuer signed the leaf.
    host: NodeId,
    /// From leaf to root: by which issuer, and its serial.
    links: Vec<(Fingerprint, Vec<u8>)>,
    /// In which all of it is valid.
    from: Moment,
    until: Moment,
}

/// Why the other side is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// Who it is, where that much holds.
    pub id: Option<SpiffeId>,
    /// Why.
    pub why: String,
}

fn refused(why: impl Into<String>) -> Refused {
    Refused { id: None, why: why.into() }
}

/// What the other side is in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Usage {
    /// It is the server.
    Server,
    /// It is the client.
    Client,
}

/// Trust as it is now.
pub struct Trust {
    anchors: Vec<(Fingerprint, TrustAnchor<'static>)>,
    issuers: std::collections::BTreeMap<Fingerprint, Issuer>,
    known: Mutex<HashMap<(Fingerprint, Usage), Arc<Peer>>>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trust({} roots, {} issuers)", self.anchors.len(), self.issuers.len())
    }
}

/// Of certificates and handshakes.
pub fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}

fn fingerprint(der: &[u8]) -> Fingerprint {
    Sha256::digest(der).into()
}

fn canonical(serial: &[u8]) -> Vec<u8> {
    serial.iter().copied().skip_while(|byte| *byte == 0).collect()
}

impl Trust {
    /// From what the keeper says.
    pub fn new(told: tunnel::Trust) -> Self {
        let anchor = |der: &Vec<u8>| {
            let certificate = CertificateDer::from(der.as_slice());
            anchor_from_trusted_cert(&certificate).ok().map(|anchor| (fingerprint(der), anchor.to_owned()))
        };
        Self { anchors: told.roots.iter().filter_map(anchor).collect(), issuers: told.issuers, known: Mutex::default() }
    }

    /// Who is behind a chain.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        usage: Usage,
        now: Moment,
    ) -> Result<Arc<Peer>, Refused> {
        if others.len() >= MAX_CHAIN {
            return Err(refused("its chain is too long"));
        }
        let mut digest = Sha256::new_with_prefix(leaf);
        others.iter().for_each(|der| {
            digest.update((der.len() as u64).to_be_bytes());
            digest.update(der);
        });
        let key = (digest.finalize().into(), usage);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let peer = match known {
            Some(known) => known,
            None => {
                let peer = Arc::new(self.read(leaf, others, usage, now)?);
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= MAX_KNOWN {
                    known.clear();
                }
                known.insert(key, Arc::clone(&peer));
                peer
            }
        };
        if now < peer.from || now >= peer.until {
            return Err(Refused { id: Some(peer.id.clone()), why: "its certificate is not valid now".to_owned() });
        }
        // New connections need current lists; those that are there are closed by what lists say, not by their age.
        for (issuer, _) in &peer.links {
            let current = self.issuers.get(issuer).and_then(|issuer| issuer.list_ends).is_some_and(|end| end > now);
            if !current {
                let why = "no revocation list that is valid now is known of an issuer of its certificate";
                return Err(Refused { id: Some(peer.id.clone()), why: why.to_owned() });
            }
        }
        Ok(peer)
    }

    fn read(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], usage: Usage, now: Moment) -> Result<Peer, Refused> {
        let end = EndEntityCert::try_from(leaf).map_err(|error| refused(format!("its certificate cannot be read: {error}")))?;
        let anchors: Vec<TrustAnchor<'_>> = self.anchors.iter().map(|(_, anchor)| anchor.clone()).collect();
        let algorithms = algorithms().all;
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now.as_secs()).unwrap_or(0)));
        let usage = match usage {
            Usage::Server => KeyUsage::server_auth(),
            Usage::Client => KeyUsage::client_auth(),
        };
        let path = end
            .verify_for_usage(algorithms, &anchors, others, time, usage, None, None)
            .map_err(|error| refused(format!("its certificate does not hold: {error}")))?;
        let anchor = path.anchor();
        let root = self.anchors.iter().find(|(_, known)| {
            known.subject == anchor.subject && known.subject_public_key_info == anchor.subject_public_key_info
        });
        let root = root.map(|(fingerprint, _)| *fingerprint).ok_or_else(|| refused("its root is not known"))?;
        let above: Vec<CertificateDer<'_>> = path.intermediate_certificates().map(|certificate| certificate.der()).collect();
        let mut issuers: Vec<Fingerprint> = above.iter().map(|der| fingerprint(der)).collect();
        issuers.push(root);
        let leaf = parse(leaf)?;
        let id = spiffe_id(&leaf)?;
        let mut links = vec![(issuers[0], canonical(leaf.raw_serial()))];
        let (mut from, mut until) = dates(&leaf);
        for (der, issuer) in above.iter().zip(&issuers[1..]) {
            let certificate = parse(der)?;
            links.push((*issuer, canonical(certificate.raw_serial())));
            let (not_before, not_after) = dates(&certificate);
            (from, until) = (from.max(not_before), until.min(not_after));
        }
        let Some(issuer) = self.issuers.get(&issuers[0]) else {
            return Err(Refused {
                id: Some(id),
                why: "its issuer is of no host that is known here, or of one that is out".to_owned(),
            });
        };
        let peer = Peer { id, host: issuer.host.clone(), links, from, until };
        self.still_holds(&peer)?;
        Ok(peer)
    }

    /// What is known of a chain that was verified once: is it trusted still, by what is revoked, permitted and known now?
    pub fn still_holds(&self, peer: &Peer) -> Result<(), Refused> {
        let no = |why: &str| Err(Refused { id: Some(peer.id.clone()), why: why.to_owned() });
        for (position, (fingerprint, serial)) in peer.links.iter().enumerate() {
            let is_root = position + 1 == peer.links.len();
            match self.issuers.get(fingerprint) {
                Some(issuer) if issuer.revoked.contains(serial) => return no("its certificate, or one above it, is revoked"),
                Some(_) if is_root && !self.anchors.iter().any(|(root, _)| root == fingerprint) => {
                    return no("its root is not trusted any more");
                }
                Some(_) => {}
                // An intermediate is forgotten when it ends, while connections go on; its host must be in.
                None if !is_root && self.issuers.values().any(|other| other.host == peer.host) => {}
                None => return no("its issuer is of no host that is known here, or of one that is out"),
            }
        }
        let limits =
            peer.links.first().and_then(|(issuer, _)| self.issuers.get(issuer)).and_then(|issuer| issuer.spiffe.as_ref());
        match limits {
            Some(paths) if !may_issue(paths, &peer.host, &peer.id) => {
                no(&format!("the host {} may not issue this SPIFFE ID", peer.host))
            }
            _ => Ok(()),
        }
    }
}

fn parse<'a>(der: &'a [u8]) -> Result<X509Certificate<'a>, Refused> {
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(|_| refused("its certificate cannot be read"))
}

fn dates(certificate: &X509Certificate<'_>) -> (Moment, Moment) {
    let validity = certificate.validity();
    (Moment::from_secs(validity.not_before.timestamp()), Moment::from_secs(validity.not_after.timestamp()))
}

/// X509-SVID §2: exactly one URI.
fn spiffe_id(leaf: &X509Certificate<'_>) -> Result<SpiffeId, Refused> {
    let names = leaf.subject_alternative_name().ok().flatten().map(|extension| extension.value.general_names.clone());
    let uris: Vec<&str> = names
        .iter()
        .flatten()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris[..] {
        [uri] => uri.parse().map_err(|error: reverie_core::id::InvalidName| refused(error.to_string())),
        [] => Err(refused("its certificate has no SPIFFE ID")),
        _ => Err(refused("its certificate has more than one URI")),
    }
}
