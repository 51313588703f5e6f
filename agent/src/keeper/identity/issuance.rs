//! Making one leaf: key, template, signature. Recording it is the caller's.

use rcgen::{PublicKeyData, SubjectPublicKeyInfo};
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::{self, LeafTemplate, OutsideLimits, Serial, TemplateError};
use reverie_core::config::Identity;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;
use zeroize::Zeroizing;

use super::authority;
use super::issuers::{Issuers, SigningIssuer, to_pem};
use crate::keeper::state::{CertificateKind, IssuedRecord};

/// A signed leaf that is not recorded yet: nobody may see it before it is.
#[must_use]
pub struct Leaf {
    /// Its serial.
    pub serial: Serial,
    /// From when to when.
    pub validity: Validity,
    /// Leaf, then intermediate, PEM.
    pub chain_pem: String,
    /// PKCS #8, PEM, if the key was made here.
    pub key_pem: Option<Zeroizing<String>>,
    /// Fingerprint of the intermediate.
    pub issuer: String,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leaf({})", self.serial)
    }
}

/// Why no leaf could be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The clock or the issuer does not allow it.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The mesh does not let this host issue such names.
    #[error(transparent)]
    Limits(#[from] OutsideLimits),
    /// There is no intermediate that could sign.
    #[error("there is no intermediate that can sign now; `agentctl status` shows why")]
    NoIssuer,
    /// The library refused.
    #[error("signing failed: {0}")]
    Signing(#[from] rcgen::Error),
    /// The kernel gave no randomness.
    #[error("no random numbers could be had")]
    Randomness(#[from] aws_lc_rs::error::Unspecified),
}

/// Makes a leaf for `identity`: for the given key, or for a new one.
pub fn issue(
    issuers: &Issuers,
    identity: &Identity,
    given: Option<&SubjectPublicKeyInfo>,
    now: Moment,
) -> Result<Leaf, IssueError> {
    let record = &issuers.stored.record;
    let intermediate = ca::issuing_intermediate(record, now).ok_or_else(|| no_issuer(record, now))?;
    let issuer = issuers.signing(&intermediate.fingerprint).ok_or(IssueError::NoIssuer)?;
    issuers.check_limits(&intermediate.fingerprint, identity)?;
    let template = LeafTemplate {
        serial: authority::fresh_serial(now)?,
        spiffe_id: identity.spiffe_id.clone(),
        dns: identity.dns.clone(),
        ip: identity.ip.clone(),
        validity: LeafTemplate::validity(now, identity.ttl.0, intermediate.validity)?,
    };
    let common_name = common_name(identity, issuers.is_constrained(&intermediate.fingerprint));
    match given {
        Some(public_key) => sign(&template, &common_name, public_key, issuer, None),
        None => {
            let key = authority::fresh_key(identity.key)?;
            let key_pem = Zeroizing::new(to_pem("PRIVATE KEY", &Zeroizing::new(key.serialize_der())));
            sign(&template, &common_name, &key, issuer, Some(key_pem))
        }
    }
}

/// OpenSSL takes a common name with a dot for a DNS name where there is no other (X509_check_host), and holds it to the
/// constraints of the intermediate. A colon is in no identity's name, so no two have the same.
fn common_name(identity: &Identity, constrained: bool) -> String {
    match constrained && identity.dns.is_empty() {
        true => identity.name.as_str().replace('.', ":"),
        false => identity.name.to_string(),
    }
}

/// Nothing may sign: has all of it ended, or is the clock too early for any of it?
pub fn no_issuer(record: &ca::Authority, now: Moment) -> IssueError {
    let live = record.intermediates.iter().filter(|i| !i.revoked && !i.retired);
    match live.map(|i| i.validity.not_before).min() {
        Some(born) if now < born => IssueError::Template(TemplateError::ClockBeforeIssuer { now, born }),
        _ => IssueError::NoIssuer,
    }
}

fn sign(
    template: &LeafTemplate,
    common_name: &str,
    public_key: &impl PublicKeyData,
    issuer: &SigningIssuer,
    key_pem: Option<Zeroizing<String>>,
) -> Result<Leaf, IssueError> {
    let der = authority::sign_leaf(template, common_name, public_key, issuer)?;
    let mut chain_pem = to_pem("CERTIFICATE", &der);
    chain_pem.push_str(&issuer.certificate_pem);
    Ok(Leaf { serial: template.serial, validity: template.validity, chain_pem, key_pem, issuer: issuer.fingerprint.clone() })
}

impl Leaf {
    /// For the register of issued certificates.
    pub fn record(&self, identity: &Identity) -> IssuedRecord {
        IssuedRecord {
            serial: self.serial,
            kind: CertificateKind::Leaf,
            identity: identity.name.clone(),
            spiffe_id: identity.spiffe_id.clone(),
            issuer: self.issuer.clone(),
            not_before: self.validity.not_before,
            not_after: self.validity.not_after,
            revoked_at: None,
        }
    }

    /// For the audit log.
    pub fn event(&self, identity: &Identity, actor: Actor, now: Moment) -> Event {
        Event {
            time: now,
            kind: Kind::CertificateIssued,
            outcome: Outcome::Done,
            actor,
            subject: Subject { serial: Some(self.serial.to_string()), ..subject(identity) },
            reason: None,
        }
    }
}

/// The identity as the subject of an event.
pub fn subject(identity: &Identity) -> Subject {
    Subject { identity: Some(identity.name.to_string()), spiffe_id: Some(identity.spiffe_id.to_string()), ..Subject::default() }
}
