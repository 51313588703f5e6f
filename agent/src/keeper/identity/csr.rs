//! Certificate requests: the caller proves it holds a key, and asks for names it may have.

use rcgen::SubjectPublicKeyInfo;
use reverie_core::config::Identity;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// A longer request is refused before it is parsed.
const MAX_BYTES: usize = 16 * 1024;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Not PEM, not a request, or too long.
    #[error("this is not a certificate request in PEM: {0}")]
    Malformed(String),
    /// The signature is not by the key in it.
    #[error("the request is not signed by the key it holds")]
    NotProven,
    /// RSA below 2048 bits, an unusual curve, or something else.
    #[error(
        "the request's key is too weak or of an unsupported kind: {0}; use P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits"
    )]
    Key(String),
    /// It names somebody else.
    #[error("the request asks for {0}, which is not among the names of the identity {1:?}")]
    ForeignName(String, String),
    /// It asks to be an authority.
    #[error("the request asks for a certificate that can sign others")]
    Authority,
}

/// Checks a request against an identity; returns the key to certify. Names are then taken from the identity.
pub fn check(pem_text: &str, identity: &Identity) -> Result<SubjectPublicKeyInfo, CsrError> {
    if pem_text.len() > MAX_BYTES {
        return Err(CsrError::Malformed(format!("it is longer than {MAX_BYTES} bytes")));
    }
    let block = pem::parse(pem_text).map_err(|error| CsrError::Malformed(error.to_string()))?;
    if !matches!(block.tag(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
        return Err(CsrError::Malformed(format!("its label is {:?}", block.tag())));
    }
    let (rest, request) =
        X509CertificationRequest::from_der(block.contents()).map_err(|error| CsrError::Malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(CsrError::Malformed("bytes follow it".to_owned()));
    }
    check_key(&request)?;
    request.verify_signature().map_err(|_| CsrError::NotProven)?;
    check_names(&request, identity)?;
    SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .map_err(|error| CsrError::Key(error.to_string()))
}

fn check_key(request: &X509CertificationRequest<'_>) -> Result<(), CsrError> {
    let info = &request.certification_request_info.subject_pki;
    let oid = &info.algorithm.algorithm;
    if *oid == oid_registry::OID_SIG_ED25519 {
        return Ok(());
    }
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match info.parsed() {
        Ok(PublicKey::RSA(key)) if (2048..=4096).contains(&key.key_size()) => Ok(()),
        Ok(PublicKey::RSA(key)) => Err(CsrError::Key(format!("RSA of {} bits", key.key_size()))),
        Ok(PublicKey::EC(_)) => match curve {
            Some(curve) if curve == oid_registry::OID_EC_P256 || curve == oid_registry::OID_NIST_EC_P384 => Ok(()),
            Some(curve) => Err(CsrError::Key(format!("the curve {curve}"))),
            None => Err(CsrError::Key("a curve without a name".to_owned())),
        },
        _ => Err(CsrError::Key(format!("the algorithm {oid}"))),
    }
}

fn check_names(request: &X509CertificationRequest<'_>, identity: &Identity) -> Result<(), CsrError> {
    let foreign = |name: String| CsrError::ForeignName(name, identity.name.to_string());
    for extension in request.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    if !is_own(name, identity) {
                        return Err(foreign(describe(name)));
                    }
                }
            }
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err(CsrError::Authority),
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => return Err(CsrError::Authority),
            ParsedExtension::ParseError { .. } => return Err(CsrError::Malformed("an extension cannot be read".to_owned())),
            _ => {}
        }
    }
    // A common name that looks like a host name of another is refused too: some verifiers still read it.
    for attribute in request.certification_request_info.subject.iter_common_name() {
        let text = attribute.as_str().unwrap_or_default();
        let own = text.is_empty() || text == identity.name.as_str() || identity.dns.iter().any(|dns| dns.as_str() == text);
        if !own {
            return Err(foreign(format!("the common name {:?}", text.chars().take(128).collect::<String>())));
        }
    }
    Ok(())
}

fn is_own(name: &GeneralName<'_>, identity: &Identity) -> bool {
    match name {
        GeneralName::DNSName(dns) => identity.dns.iter().any(|own| own.as_str().eq_ignore_ascii_case(dns)),
        GeneralName::URI(uri) => identity.spiffe_id.as_str() == *uri,
        GeneralName::IPAddress(bytes) => identity.ip.iter().any(|ip| match ip {
            std::net::IpAddr::V4(ip) => ip.octets() == **bytes,
            std::net::IpAddr::V6(ip) => ip.octets() == **bytes,
        }),
        _ => false,
    }
}

fn describe(name: &GeneralName<'_>) -> String {
    name.to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};
    use reverie_core::config::{Source, parse};

    use super::*;

    fn identity() -> Identity {
        let text = "trust_domain = \"example.org\"\n[[identity]]\nname = \"web\"\ndns = [\"web.example.org\"]\nip = [\"10.0.0.1\"]\nmatch = { uid = 1 }\n";
        parse(Source { file: "t", text }, &[]).unwrap().identities.remove(0)
    }

    fn request(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) if name.contains("://") => SanType::URI((*name).try_into().unwrap()),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        change(&mut params);
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    }

    #[test]
    fn a_request_for_some_of_the_identitys_names_is_accepted() {
        for names in [&[][..], &["web.example.org"], &["10.0.0.1", "spiffe://example.org/svc/web"]] {
            check(&request(names, |_| {}), &identity()).unwrap();
        }
    }

    #[test]
    fn a_foreign_name_is_refused_by_name() {
        for foreign in ["db.example.org", "10.0.0.2", "spiffe://example.org/svc/db", "*.example.org"] {
            let error = check(&request(&["web.example.org", foreign], |_| {}), &identity()).unwrap_err();
            assert!(matches!(&error, CsrError::ForeignName(..)), "{error}");
        }
        let common_name = request(&[], |params| params.distinguished_name.push(rcgen::DnType::CommonName, "db.example.org"));
        assert!(matches!(check(&common_name, &identity()), Err(CsrError::ForeignName(..))));
    }

    #[test]
    fn a_request_to_become_an_authority_is_refused() {
        let request = request(&[], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_eq!(check(&request, &identity()).unwrap_err(), CsrError::Authority);
    }

    #[test]
    fn a_weak_key_is_refused() {
        // `openssl req -newkey rsa:1024` and `-newkey ec:secp224r1`, made for this test.
        for weak in [include_str!("testdata/rsa1024.csr"), include_str!("testdata/secp224r1.csr")] {
            assert!(matches!(check(weak, &identity()), Err(CsrError::Key(_))));
        }
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let pem = request(&[], |_| {});
        let mut der = pem::parse(&pem).unwrap().into_contents();
        let last = der.len() - 1;
        der[last] ^= 1;
        let forged = super::super::issuers::to_pem("CERTIFICATE REQUEST", &der);
        assert_eq!(check(&forged, &identity()).unwrap_err(), CsrError::NotProven);
    }

    #[test]
    fn garbage_is_refused() {
        for bad in
            ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", &"A".repeat(20_000)]
        {
            assert!(matches!(check(bad, &identity()), Err(CsrError::Malformed(_))));
        }
    }
}
