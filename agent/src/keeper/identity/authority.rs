//! Signing: leaves by the host's intermediate, intermediates by its root, roots by themselves, and revocation lists.
//!
//! Nothing here decides or records: templates come from `reverie_core::ca`, and what is signed counts only once the
//! caller has committed it.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams,
    SanType, SerialNumber,
};
use reverie_core::ca::{IntermediateTemplate, LeafTemplate, NameConstraints, RootTemplate, Serial};
use reverie_core::config::KeyType;
use reverie_core::id::TrustDomain;
use reverie_core::mesh::collection::Network;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;

use super::issuers::SigningIssuer;

/// A fresh serial: the moment, then 80 random bits, so that the register of certificates grows at its end.
pub fn fresh_serial(now: Moment) -> Result<Serial, aws_lc_rs::error::Unspecified> {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random)?;
    Ok(Serial::at(now, random))
}

/// A fresh key.
pub fn fresh_key(key: KeyType) -> Result<KeyPair, rcgen::Error> {
    match key {
        KeyType::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        // Version 1 of PKCS #8, without the public key: OpenSSL 3.0 and Java do not read the other (RFC 5958).
        KeyType::Ed25519 => {
            let key = aws_lc_rs::signature::Ed25519KeyPair::generate().and_then(|key| key.to_pkcs8v1());
            KeyPair::try_from(key.map_err(|_| rcgen::Error::RingUnspecified)?.as_ref())
        }
    }
}

/// Signs a leaf for `public_key`; DER.
pub fn sign_leaf(
    template: &LeafTemplate,
    name: &str,
    public_key: &impl PublicKeyData,
    issuer: &SigningIssuer,
) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = dated(template.validity, template.serial);
    // A common name, since PostgreSQL's `cert` method and many logs look at nothing else.
    params.distinguished_name = common_name(name);
    params.subject_alt_names.push(SanType::URI(template.spiffe_id.as_str().try_into()?));
    for dns in &template.dns {
        params.subject_alt_names.push(SanType::DnsName(dns.as_str().try_into()?));
    }
    params.subject_alt_names.extend(template.ip.iter().copied().map(SanType::IpAddress));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(public_key, &issuer.issuer)?.der().to_vec())
}

/// Signs a root with its own key; DER.
pub fn sign_root(template: &RootTemplate, key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = ca_params(&template.common_name, &template.trust_domain, template.validity, template.serial)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(params.self_signed(key)?.der().to_vec())
}

/// Signs a host's intermediate; DER. It may sign leaves and nothing below.
pub fn sign_intermediate(
    template: &IntermediateTemplate,
    key: &impl PublicKeyData,
    root: &SigningIssuer,
) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = ca_params(&template.common_name, &template.trust_domain, template.validity, template.serial)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.name_constraints = template.constraints.as_ref().map(name_constraints);
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(key, &root.issuer)?.der().to_vec())
}

/// No constraint on URIs: with one, webpki refuses the rightful leaf too. That makes SPIFFE IDs our own verifiers' matter.
fn name_constraints(constraints: &NameConstraints) -> rcgen::NameConstraints {
    let network = |network: &Network| {
        GeneralSubtree::IpAddress(match (network.address, network.mask()) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => CidrSubnet::V4(address.octets(), mask.octets()),
            (IpAddr::V6(address), IpAddr::V6(mask)) => CidrSubnet::V6(address.octets(), mask.octets()),
            // A mask is as long as its address.
            _ => CidrSubnet::V4([0; 4], [0xff; 4]),
        })
    };
    let dns = constraints.dns.iter().map(|name| GeneralSubtree::DnsName(name.clone()));
    rcgen::NameConstraints {
        permitted_subtrees: dns.chain(constraints.networks.iter().map(network)).collect(),
        excluded_subtrees: constraints.excluded_networks().iter().map(network).collect(),
    }
}

/// One entry of a revocation list.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// Which.
    pub serial: Vec<u8>,
    /// When.
    pub at: Moment,
}

/// Signs a revocation list; DER.
pub fn sign_crl(
    revoked: &[Revocation],
    number: u64,
    this_update: Moment,
    next_update: Moment,
    issuer: &SigningIssuer,
) -> Result<Vec<u8>, rcgen::Error> {
    let entry = |revocation: &Revocation| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&revocation.serial),
        revocation_time: revocation.at.to_offset_date_time(),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: this_update.truncated_to_secs().to_offset_date_time(),
        next_update: next_update.truncated_to_secs().to_offset_date_time(),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(params.signed_by(&issuer.issuer)?.der().to_vec())
}

fn ca_params(name: &str, domain: &TrustDomain, validity: Validity, serial: Serial) -> Result<CertificateParams, rcgen::Error> {
    let mut params = dated(validity, serial);
    params.distinguished_name = common_name(name);
    params.subject_alt_names.push(SanType::URI(format!("spiffe://{domain}").as_str().try_into()?));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn dated(validity: Validity, serial: Serial) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = validity.not_before.to_offset_date_time();
    params.not_after = validity.not_after.to_offset_date_time();
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}
