//! The certificate over this host's own signing key: with it the host shows who it is to those who know a root of the mesh
//! and not the key. Peers look at the key alone.

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::{self, LeafTemplate};
use reverie_core::id::{DnsName, IdentityName};
use reverie_core::mesh::crypto::SigningPublicKey;
use serde::{Deserialize, Serialize};

use super::authority;
use super::issuance::{IssueError, no_issuer};
use super::lifecycle::LifecycleError;
use crate::keeper::state::{CertificateKind, Change, IssuedRecord, Table, Write};
use crate::keeper::{Keeper, clock, row};

/// The key of its row.
const ROW: &str = "host-certificate";
/// The name it has in the register.
const IDENTITY: &str = "host";

#[derive(Serialize, Deserialize)]
struct Stored {
    /// Fingerprint of the intermediate.
    issuer: String,
    /// Over which key.
    key: Vec<u8>,
    /// DER.
    leaf: Vec<u8>,
}

/// Leaf, then intermediate, DER. The same one as long as key and intermediate are.
pub async fn host_certificate_chain(keeper: &Keeper, key: &SigningPublicKey) -> Result<Vec<Vec<u8>>, LifecycleError> {
    let (now, issuers) = (clock::now(), keeper.issuers());
    let record = &issuers.stored.record;
    let intermediate = ca::issuing_intermediate(record, now).ok_or_else(|| no_issuer(record, now))?;
    let issuer = issuers.signing(&intermediate.fingerprint).ok_or(IssueError::NoIssuer)?;
    let above = issuers.certificate(&intermediate.fingerprint).ok_or(IssueError::NoIssuer)?.to_vec();
    if let Some(row) = keeper.state.get(Table::Authority, ROW)? {
        let known: Stored = row::decode(&row)?;
        if known.issuer == intermediate.fingerprint && known.key == key.0 {
            return Ok(vec![known.leaf, above]);
        }
    }
    let node = &keeper.host.node_id;
    let spiffe_id = format!("spiffe://{}/host/{node}", keeper.host.trust_domain).parse()?;
    let template = LeafTemplate {
        serial: authority::fresh_serial(now)?,
        spiffe_id,
        dns: vec![node.as_str().parse::<DnsName>()?],
        ip: vec![],
        validity: LeafTemplate::validity(now, intermediate.validity.life(), intermediate.validity)
            .map_err(IssueError::Template)?,
    };
    let name: IdentityName = IDENTITY.parse()?;
    let leaf = authority::sign_leaf(&template, IDENTITY, &HostKey(key), issuer)?;
    let stored = Stored { issuer: intermediate.fingerprint.clone(), key: key.0.to_vec(), leaf: leaf.clone() };
    let issued = IssuedRecord {
        serial: template.serial,
        kind: CertificateKind::Host,
        identity: name,
        spiffe_id: template.spiffe_id.clone(),
        issuer: intermediate.fingerprint.clone(),
        not_before: template.validity.not_before,
        not_after: template.validity.not_after,
        revoked_at: None,
    };
    let subject = Subject {
        spiffe_id: Some(template.spiffe_id.to_string()),
        serial: Some(template.serial.to_string()),
        object: Some("the host's own key".to_owned()),
        ..Subject::default()
    };
    let event =
        Event { time: now, kind: Kind::CertificateIssued, outcome: Outcome::Done, actor: Actor::Agent, subject, reason: None };
    let row = Write::Put { table: Table::Authority, key: ROW.to_owned(), value: row::encode(&stored)? };
    keeper.commit(Change { writes: vec![Write::Issued(issued), row], events: vec![event] }).await?;
    Ok(vec![leaf, above])
}

struct HostKey<'a>(&'a SigningPublicKey);

impl rcgen::PublicKeyData for HostKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.0.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
