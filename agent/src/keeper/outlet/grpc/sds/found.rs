//! What a name stands for, for one process at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use reverie_core::api::{Code, Problem};
use reverie_core::config::Identity;
use reverie_core::federation::ForeignBundle;
use reverie_core::id;
use reverie_core::sds::Wanted;
use reverie_proto::sds::{
    Any, CertificateValidationContext, DataSource, Secret, Specifier, SpiffeCertValidatorConfig, TlsCertificate, TrustDomain,
    Type, TypedExtensionConfig,
};
use sha2::{Digest, Sha256};

use super::super::{holdings, trust};
use crate::keeper::Keeper;
use crate::keeper::identity::issuers::Issuers;
use crate::keeper::identity::store::Generation;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::denials;
use crate::keeper::local::peer::Peer;

/// The one type of resource there is.
pub(super) const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";
const VALIDATOR_TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

/// Something that a name stands for.
pub(super) struct Found {
    /// Another one for other content.
    pub(super) version: String,
    what: What,
}

enum What {
    Certificate(Box<Identity>, Arc<Generation>),
    Domain(Arc<Issuers>),
    Foreign(Arc<ForeignBundle>),
    AllDomains(Arc<Issuers>),
}

/// Names that were refused on this stream, and are in the audit log.
#[derive(Default)]
pub(super) struct Denied(BTreeSet<String>);

/// What each of these names stands for. Those that stand for nothing are refused.
pub(super) async fn find(
    keeper: &Arc<Keeper>,
    peer: &Peer,
    names: &[String],
    denied: &mut Denied,
) -> Result<BTreeMap<String, Found>, Failure> {
    let identities = holdings::identities(keeper, peer).await?;
    denied.0.retain(|name| names.contains(name));
    let mut all = BTreeMap::new();
    for name in names {
        match one(keeper, peer, &identities, name).await? {
            Some(found) => drop(all.insert(name.clone(), found)),
            None => {
                if denied.0.insert(name.clone()) {
                    deny(keeper, peer, name).await;
                }
            }
        }
    }
    Ok(all)
}

async fn one(keeper: &Arc<Keeper>, peer: &Peer, identities: &[Identity], name: &str) -> Result<Option<Found>, Failure> {
    let identity = match Wanted::parse(name, &keeper.host.trust_domain) {
        Some(Wanted::Default) => identities.first(),
        Some(Wanted::Identity(id)) => identities.iter().find(|identity| identity.spiffe_id == id),
        Some(Wanted::Domain(None)) => return Ok(Some(domain(keeper, What::Domain))),
        Some(Wanted::AllDomains) => return Ok(Some(domain(keeper, What::AllDomains))),
        Some(Wanted::Domain(Some(other))) => return Ok(foreign(keeper, &other)),
        None => None,
    };
    let Some(identity) = identity else { return Ok(None) };
    let generation = holdings::generation(keeper, peer, identity).await?;
    Ok(Some(Found { version: generation.serial.to_string(), what: What::Certificate(Box::new(identity.clone()), generation) }))
}

fn domain(keeper: &Keeper, what: fn(Arc<Issuers>) -> What) -> Found {
    let issuers = keeper.issuers();
    Found { version: trust::digest(&issuers, &keeper.federations.bundles()), what: what(issuers) }
}

/// A trust domain that ours federates with.
fn foreign(keeper: &Keeper, domain: &id::TrustDomain) -> Option<Found> {
    let bundle = Arc::clone(keeper.federations.bundles().get(domain)?);
    let version = data_encoding::HEXLOWER.encode(&Sha256::digest(bundle.roots.concat()));
    Some(Found { version, what: What::Foreign(bundle) })
}

async fn deny(keeper: &Keeper, peer: &Peer, name: &str) {
    let shown: String = name.chars().take(200).collect();
    let problem = Problem::new(Code::NotPermitted, format!("this process has no secret of the name {shown:?}"));
    tracing::warn!(pid = peer.caller.pid, uid = peer.caller.uid, "{}, and Envoy waits for it", problem.detail);
    denials::record(keeper, &peer.caller, format!("SDS secret {shown:?}"), &problem).await;
}

impl Found {
    /// The certificate whose key is handed out with it.
    pub(super) fn handed(&self) -> Option<(&Identity, &Generation)> {
        match &self.what {
            What::Certificate(identity, generation) => Some((identity, generation)),
            What::Domain(_) | What::Foreign(_) | What::AllDomains(_) => None,
        }
    }

    /// As Envoy takes it.
    pub(super) fn resource(&self, keeper: &Keeper, name: &str) -> Any {
        let secret = match &self.what {
            What::Certificate(_, generation) => Type::TlsCertificate(TlsCertificate {
                certificate_chain: Some(inline(generation.chain_pem.as_bytes())),
                private_key: Some(inline(generation.key_pem.as_bytes())),
            }),
            // Envoy looks for a list of every issuer on the way, and there is one of each.
            What::Domain(issuers) => Type::ValidationContext(CertificateValidationContext {
                trusted_ca: Some(inline(issuers.bundle_pem.as_bytes())),
                crl: Some(issuers.crl_pem.as_bytes()).filter(|lists| !lists.is_empty()).map(inline),
                custom_validator_config: None,
            }),
            What::Foreign(bundle) => Type::ValidationContext(CertificateValidationContext {
                trusted_ca: Some(inline(trust::roots_pem(bundle).as_bytes())),
                crl: None,
                custom_validator_config: None,
            }),
            // This validator ignores `crl`, and takes lists from among the roots.
            What::AllDomains(issuers) => {
                let own =
                    (keeper.host.trust_domain.to_string(), [issuers.bundle_pem.as_bytes(), issuers.crl_pem.as_bytes()].concat());
                let bundles = keeper.federations.bundles();
                let foreign = bundles.iter().map(|(name, bundle)| (name.to_string(), trust::roots_pem(bundle).into_bytes()));
                let domains = std::iter::once(own).chain(foreign);
                let domains = domains.map(|(name, pem)| TrustDomain { name, trust_bundle: Some(inline(&pem)) });
                let config = SpiffeCertValidatorConfig { trust_domains: domains.collect() };
                Type::ValidationContext(CertificateValidationContext {
                    trusted_ca: None,
                    crl: None,
                    custom_validator_config: Some(TypedExtensionConfig {
                        name: VALIDATOR.to_owned(),
                        typed_config: Some(any(VALIDATOR_TYPE, &config)),
                    }),
                })
            }
        };
        any(SECRET, &Secret { name: name.to_owned(), r#type: Some(secret) })
    }
}

fn inline(bytes: &[u8]) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(bytes.to_vec())) }
}

/// Written at once in its full size: it may hold a key, and a vector that grows leaves copies behind.
fn any(type_url: &str, message: &impl Message) -> Any {
    let mut value = Vec::with_capacity(message.encoded_len());
    message.encode_raw(&mut value);
    Any { type_url: type_url.to_owned(), value }
}
