//! Certificates across hosts, as verifiers see them that are not ours: OpenSSL and webpki.

mod constraints;
mod lists;
mod trust;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use reverie_core::ca::{self, Intermediate, IntermediateTemplate, LeafTemplate, Role, Root, RootTemplate};
use reverie_core::config::{Identity, KeyType, Source, parse};
use reverie_core::id::{NodeId, TrustDomain};
use reverie_core::mesh::collection::IssuingLimits;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use zeroize::Zeroizing;

use super::issuers::{Issuers, StoredAuthority, StoredIssuer, fingerprint, to_pem};
use super::trust::MeshTrust;
use super::{authority, chain};
use crate::keeper::clock;

const DAY: Duration = Duration::from_secs(86_400);

fn domain() -> TrustDomain {
    "example.org".parse().unwrap()
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn identity(rest: &str) -> Identity {
    let text = format!("trust_domain = \"example.org\"\n[[identity]]\nmatch = {{ uid = 1 }}\n{rest}\n");
    parse(Source { file: "t", text: &text }, &[]).unwrap().identities.remove(0)
}

fn stored(certificate: Vec<u8>, key: &KeyPair) -> StoredIssuer {
    StoredIssuer {
        fingerprint: fingerprint(&certificate),
        certificate,
        key: Zeroizing::new(key.serialize_der()),
        crl: Arc::default(),
        crl_number: 0,
    }
}

/// An authority: a host with a root that signs.
struct Authority {
    issuers: Issuers,
    der: Vec<u8>,
    validity: Validity,
}

impl Authority {
    fn new(name: &str) -> Self {
        let (key, now) = (authority::fresh_key(KeyType::P256).unwrap(), clock::now());
        let serial = authority::fresh_serial(now).unwrap();
        let template = RootTemplate::new(serial, &domain(), &node(name), now, 365 * DAY);
        let der = authority::sign_root(&template, &key).unwrap();
        let root = Root {
            fingerprint: fingerprint(&der),
            validity: template.validity,
            signs_from: now.truncated_to_secs(),
            crl_next_update: None,
            retired: false,
        };
        let record = ca::Authority { roots: vec![root], ..ca::Authority::default() };
        let kept = StoredAuthority { record, issuers: vec![stored(der.clone(), &key)], ..StoredAuthority::default() };
        let issuers = Issuers::load(kept, Arc::default(), &node(name)).unwrap();
        Self { issuers, der, validity: template.validity }
    }

    fn fingerprint(&self) -> String {
        fingerprint(&self.der)
    }

    /// Signs an intermediate; `None`: without constraints, as no authority of ours does.
    fn sign(&self, csr: &[u8], name: &str, limits: Option<&IssuingLimits>) -> Vec<u8> {
        let (public_key, now) = (chain::check_request(csr).unwrap(), clock::now());
        let serial = authority::fresh_serial(now).unwrap();
        let template = IntermediateTemplate::new(serial, &domain(), &node(name), now, 60 * DAY, self.validity).unwrap();
        let template = match limits {
            Some(limits) => template.limited_to(limits, &node(name)),
            None => template,
        };
        authority::sign_intermediate(&template, &public_key, &self.issuers.signing[0]).unwrap()
    }
}

fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

/// A member with an intermediate of that authority.
struct Member {
    issuers: Issuers,
    intermediate: Vec<u8>,
}

impl Member {
    fn of(authority: &Authority, name: &str, limits: &IssuingLimits) -> Self {
        let key = authority::fresh_key(KeyType::P256).unwrap();
        let intermediate = authority.sign(&request(&key), name, Some(limits));
        let read = chain::read_intermediate(&intermediate, &authority.der, &domain()).unwrap();
        let mut kept = StoredAuthority { issuers: vec![stored(intermediate.clone(), &key)], ..StoredAuthority::default() };
        kept.record.intermediates.push(Intermediate {
            fingerprint: read.fingerprint,
            root: authority.fingerprint(),
            validity: read.validity,
            crl_next_update: None,
            revoked: false,
            retired: false,
        });
        kept.membership.anchors = vec![authority.der.clone()];
        kept.set_role(Role::Member);
        Self { issuers: Issuers::load(kept, Arc::<MeshTrust>::default(), &node(name)).unwrap(), intermediate }
    }

    fn fingerprint(&self) -> String {
        fingerprint(&self.intermediate)
    }

    /// As a thief of its key does: nobody asks the judge.
    fn sign_unasked(&self, id: &str, dns: &[&str], ip: &[&str], common_name: &str) -> Vec<u8> {
        let now = clock::now();
        let template = LeafTemplate {
            serial: authority::fresh_serial(now).unwrap(),
            spiffe_id: id.parse().unwrap(),
            dns: dns.iter().map(|name| name.parse().unwrap()).collect(),
            ip: ip.iter().map(|ip| ip.parse().unwrap()).collect(),
            validity: LeafTemplate::validity(now, DAY, self.issuers.stored.record.intermediates[0].validity).unwrap(),
        };
        let key = authority::fresh_key(KeyType::P256).unwrap();
        authority::sign_leaf(&template, common_name, &key, &self.issuers.signing[0]).unwrap()
    }
}

/// What OpenSSL says of a chain; `lists`: PEM, checked for the whole chain.
fn openssl(roots: &[&[u8]], intermediate: &[u8], leaf: &[u8], lists: Option<&str>) -> Result<(), String> {
    openssl_through(roots, &[intermediate], leaf, lists)
}

/// The same through any number of intermediates.
fn openssl_through(roots: &[&[u8]], above: &[&[u8]], leaf: &[u8], lists: Option<&str>) -> Result<(), String> {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| -> PathBuf {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let bundle = write("roots", roots.iter().map(|root| to_pem("CERTIFICATE", root)).collect());
    let above = write("above", above.iter().map(|above| to_pem("CERTIFICATE", above)).collect());
    let leaf = write("leaf", to_pem("CERTIFICATE", leaf));
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-no-CApath", "-CAfile"]).arg(bundle).arg("-untrusted").arg(above);
    if let Some(lists) = lists {
        command.args(["-crl_check_all", "-CRLfile"]).arg(write("lists", lists.to_owned()));
    }
    let said = command.arg::<&Path>(&leaf).output().unwrap();
    match said.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&said.stderr).into_owned()),
    }
}

/// What webpki says of it, for a client certificate.
fn webpki(roots: &[&[u8]], intermediate: &[u8], leaf: &[u8], lists: &[Vec<u8>]) -> Result<(), String> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.to_vec())).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
    let builder = match lists {
        [] => builder,
        lists => builder.with_crls(lists.iter().map(|list| CertificateRevocationListDer::from(list.clone()))),
    };
    let now = UnixTime::since_unix_epoch(Duration::from_millis(clock::now().as_millis().try_into().unwrap()));
    let verdict = builder.build().unwrap().verify_client_cert(
        &CertificateDer::from(leaf.to_vec()),
        &[CertificateDer::from(intermediate.to_vec())],
        now,
    );
    verdict.map(drop).map_err(|error| error.to_string())
}

fn key_of(key: &KeyPair) -> Vec<u8> {
    key.subject_public_key_info()
}

fn later(span: Duration) -> Moment {
    clock::now().after(span)
}
