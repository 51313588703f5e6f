//! A server that is known by its SPIFFE ID (SPIFFE Federation §5.2.2.4): the chain counts, and the ID, not its DNS names.

use std::sync::Arc;

use reverie_core::id::SpiffeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Goes on with a server of that ID alone.
#[derive(Debug)]
pub(super) struct SpiffeServer {
    spiffe_id: SpiffeId,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl SpiffeServer {
    /// One of that ID, under one of these roots.
    pub(super) fn new(spiffe_id: SpiffeId, roots: RootCertStore, provider: Arc<CryptoProvider>) -> Self {
        Self { spiffe_id, roots, provider }
    }
}

impl ServerCertVerifier for SpiffeServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        match spiffe_id_of(leaf).as_deref() {
            Some(shown) if shown == self.spiffe_id.as_str() => Ok(ServerCertVerified::assertion()),
            shown => {
                let shown: String = shown.unwrap_or("no SPIFFE ID").chars().filter(|c| !c.is_control()).take(200).collect();
                Err(Error::General(format!("the server is {shown}, not {}", self.spiffe_id)))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The one URI name of a leaf (X509-SVID §2: exactly one).
fn spiffe_id_of(leaf: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    if certificate.is_ca() {
        return None;
    }
    let names = certificate.subject_alternative_name().ok()??;
    let mut ids = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    let (first, second) = (ids.next(), ids.next());
    first.filter(|_| second.is_none())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

    use super::*;

    fn root(domain: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{domain}").try_into().unwrap())];
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(root: &CertifiedIssuer<'static, KeyPair>, ids: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["host.other.org".to_owned()]).unwrap();
        params.subject_alt_names.extend(ids.iter().map(|id| SanType::URI((*id).try_into().unwrap())));
        params.signed_by(&KeyPair::generate().unwrap(), root).unwrap().der().clone()
    }

    #[test]
    fn only_the_server_of_that_id_under_those_roots_is_believed() {
        let (known, other) = (root("other.org"), root("other.org"));
        let id = "spiffe://other.org/bundle";
        let mut roots = RootCertStore::empty();
        roots.add(known.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = SpiffeServer::new(id.parse().unwrap(), roots, provider);
        let verify = |leaf: &CertificateDer<'_>| {
            let name = ServerName::try_from("localhost").unwrap();
            verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::now()).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(verify(&leaf(&known, &[id])), Ok(()));
        assert!(verify(&leaf(&other, &[id])).is_err(), "another root");
        assert!(verify(&leaf(&known, &["spiffe://other.org/bundle/x"])).unwrap_err().contains("not spiffe://other.org/bundle"));
        assert!(verify(&leaf(&known, &[])).unwrap_err().contains("no SPIFFE ID"));
        assert!(verify(&leaf(&known, &[id, "spiffe://other.org/x"])).is_err(), "two names");
        assert!(verify(known.der()).is_err(), "an authority");
    }
}
