//! Certificate requests and chains that come from other hosts, checked before anything is signed or trusted.

use rcgen::SubjectPublicKeyInfo;
use reverie_core::ca::NameConstraints;
use reverie_core::id::TrustDomain;
use reverie_core::mesh::collection::Network;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry;
use x509_parser::prelude::FromDer;

use super::issuers::fingerprint;

/// A longer certificate or request is refused before it is parsed.
const MAX_BYTES: usize = 16 * 1024;

/// An intermediate for a host, with the root that signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// DER.
    pub intermediate: Vec<u8>,
    /// DER.
    pub root: Vec<u8>,
    /// SHA-256 of the intermediate, hex: its key in `intermediates/…`.
    pub fingerprint: String,
}

/// Why something that came from another host is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is refused: {why}")]
pub struct Refused {
    what: &'static str,
    why: String,
}

fn refused(what: &'static str, why: impl Into<String>) -> Refused {
    Refused { what, why: why.into() }
}

/// Checks the certificate request of a host and returns its key. P-256, signed by that key; the names it asks for do not
/// count.
pub fn check_request(der: &[u8]) -> Result<SubjectPublicKeyInfo, Refused> {
    let refused = |why: &str| refused("the certificate request", why);
    if der.len() > MAX_BYTES {
        return Err(refused("it is too long"));
    }
    let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| refused("it cannot be read"))?;
    if !rest.is_empty() {
        return Err(refused("bytes follow it"));
    }
    let info = &request.certification_request_info.subject_pki;
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    if info.algorithm.algorithm != oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(oid_registry::OID_EC_P256) {
        return Err(refused("its key is not of the kind P-256"));
    }
    request.verify_signature().map_err(|_| refused("it is not signed by the key it holds"))?;
    SubjectPublicKeyInfo::from_der(info.raw).map_err(|_| refused("its key cannot be read"))
}

/// What a root says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRoot {
    /// SHA-256, hex.
    pub fingerprint: String,
    /// Its life.
    pub validity: Validity,
}

/// Reads a root of the trust domain: signed by itself, an authority, of no other domain.
pub fn read_root(der: &[u8], domain: &TrustDomain) -> Result<ReadRoot, Refused> {
    let refused = |why: &str| refused("the root", why);
    let certificate = parse(der).map_err(refused)?;
    check_authority(&certificate, domain).map_err(refused)?;
    certificate.verify_signature(None).map_err(|_| refused("it is not signed by itself"))?;
    Ok(ReadRoot { fingerprint: fingerprint(der), validity: validity(&certificate) })
}

/// What an intermediate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadIntermediate {
    /// SHA-256, hex.
    pub fingerprint: String,
    /// Its life.
    pub validity: Validity,
    /// What it holds its owner to.
    pub constraints: Option<NameConstraints>,
    /// Serial number.
    pub serial: Vec<u8>,
    /// Its public key: SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

/// Reads an intermediate that `root` signed: path length 0, of the trust domain.
pub fn read_intermediate(der: &[u8], root: &[u8], domain: &TrustDomain) -> Result<ReadIntermediate, Refused> {
    let refused = |why: &str| refused("the intermediate", why);
    let certificate = parse(der).map_err(refused)?;
    check_authority(&certificate, domain).map_err(refused)?;
    let basic = certificate.basic_constraints().ok().flatten();
    if basic.and_then(|basic| basic.value.path_len_constraint) != Some(0) {
        return Err(refused("it could sign further authorities"));
    }
    let root = parse(root).map_err(refused)?;
    if certificate.issuer() != root.subject() {
        return Err(refused("another root has signed it"));
    }
    certificate.verify_signature(Some(root.public_key())).map_err(|_| refused("it is not signed by that root"))?;
    let constraints = read_constraints(&certificate).map_err(refused)?;
    Ok(ReadIntermediate {
        fingerprint: fingerprint(der),
        validity: validity(&certificate),
        constraints,
        serial: certificate.raw_serial().to_vec(),
        public_key: certificate.public_key().raw.to_vec(),
    })
}

/// The serial number of a certificate, hex, and when it ends.
pub fn serial_and_end_of(der: &[u8]) -> Option<(String, Moment)> {
    let certificate = parse(der).ok()?;
    Some((data_encoding::HEXLOWER.encode(certificate.raw_serial()), validity(&certificate).not_after))
}

/// What an intermediate of ours holds this host to.
pub fn constraints_of(der: &[u8]) -> Option<NameConstraints> {
    read_constraints(&parse(der).ok()?).ok().flatten()
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, &'static str> {
    if der.len() > MAX_BYTES {
        return Err("it is too long");
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("bytes follow it"),
        Err(_) => Err("it cannot be read"),
    }
}

fn check_authority(certificate: &X509Certificate<'_>, domain: &TrustDomain) -> Result<(), &'static str> {
    if !certificate.is_ca() {
        return Err("it is not an authority's");
    }
    let usage = certificate.key_usage().ok().flatten().ok_or("it does not say what its key is for")?;
    if !usage.value.key_cert_sign() || !usage.value.crl_sign() {
        return Err("its key is not for signing certificates and lists");
    }
    let names = certificate.subject_alternative_name().ok().flatten().ok_or("it names no trust domain")?;
    let own = format!("spiffe://{domain}");
    let is_own = |name: &GeneralName<'_>| matches!(name, GeneralName::URI(uri) if *uri == own);
    match &names.value.general_names[..] {
        [name] if is_own(name) => Ok(()),
        _ => Err("it is of another trust domain"),
    }
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    Validity {
        not_before: Moment::from_secs(validity.not_before.timestamp()),
        not_after: Moment::from_secs(validity.not_after.timestamp()),
    }
}

/// The constraints as [`super::authority`] writes them; others are refused, since what they mean to a verifier is not known.
fn read_constraints(certificate: &X509Certificate<'_>) -> Result<Option<NameConstraints>, &'static str> {
    let Some(found) = certificate.name_constraints().map_err(|_| "its name constraints cannot be read")? else {
        return Ok(None);
    };
    if !found.critical {
        return Err("its name constraints are not critical");
    }
    let mut read = NameConstraints::default();
    for subtree in found.value.permitted_subtrees.iter().flatten() {
        match &subtree.base {
            GeneralName::DNSName(name) => read.dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => read.networks.push(read_network(bytes).ok_or("it permits a network that is none")?),
            _ => return Err("it permits names of another kind than DNS names and addresses"),
        }
    }
    let mut excluded = vec![];
    for subtree in found.value.excluded_subtrees.iter().flatten() {
        match &subtree.base {
            GeneralName::IPAddress(bytes) => excluded.push(read_network(bytes).ok_or("it excludes a network that is none")?),
            _ => return Err("it excludes names of another kind than addresses"),
        }
    }
    read.dns.sort();
    read.networks.sort();
    if read.dns.is_empty() || excluded != read.excluded_networks() {
        return Err("it leaves names of some kind unconstrained");
    }
    Ok(Some(read))
}

fn read_network(bytes: &[u8]) -> Option<Network> {
    let half = bytes.len() / 2;
    let (address, mask) = bytes.split_at(half);
    let octets = |bytes: &[u8]| -> Option<std::net::IpAddr> {
        match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).ok().map(Into::into),
            16 => <[u8; 16]>::try_from(bytes).ok().map(Into::into),
            _ => None,
        }
    };
    let bits = u8::try_from(mask.iter().map(|byte| byte.count_ones()).sum::<u32>()).ok()?;
    let network = Network { address: octets(address)?, bits };
    (octets(mask)? == network.mask() && network.masked() == network).then_some(network)
}
