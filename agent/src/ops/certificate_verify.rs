//! TLS 1.3 CertificateVerify (RFC 8446 §4.4.3) between a role that meets the network and the keeper, which has the key: only
//! the hash of the transcript passes, and the keeper writes the rest, so that no statement of another kind can be had this way.

use std::fmt;
use std::sync::Arc;

use reverie_core::ipc::net::Side;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

const SERVER: &[u8] = b"TLS 1.3, server CertificateVerify\0";
const CLIENT: &[u8] = b"TLS 1.3, client CertificateVerify\0";

const fn context(side: Side) -> &'static [u8] {
    match side {
        Side::Server => SERVER,
        Side::Client => CLIENT,
    }
}

/// What is signed; `None` if `transcript` is no hash of a TLS 1.3 cipher suite.
pub fn content(side: Side, transcript: &[u8]) -> Option<Vec<u8>> {
    matches!(transcript.len(), 32 | 48).then(|| [&[b' '; 64][..], context(side), transcript].concat())
}

/// The hash in what is to be signed.
fn transcript(message: &[u8], side: Side) -> Option<&[u8]> {
    message.strip_prefix(&[0x20; 64])?.strip_prefix(context(side))
}

/// Has a hash signed elsewhere. Blocks: rustls asks in the middle of its work.
type Ask = dyn Fn(Side, Vec<u8>) -> Result<Vec<u8>, String> + Send + Sync;

/// A certificate whose key is elsewhere.
pub fn certified(
    chain: &[Vec<u8>],
    side: Side,
    scheme: SignatureScheme,
    ask: impl Fn(Side, Vec<u8>) -> Result<Vec<u8>, String> + Send + Sync + 'static,
) -> Arc<SingleCertAndKey> {
    let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = Arc::new(RemoteKey { side, scheme, ask: Arc::new(ask) });
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
}

#[derive(Clone)]
struct RemoteKey {
    side: Side,
    scheme: SignatureScheme,
    ask: Arc<Ask>,
}

impl fmt::Debug for RemoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteKey({:?}, {:?})", self.side, self.scheme)
    }
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.scheme {
            SignatureScheme::ED25519 => SignatureAlgorithm::ED25519,
            _ => SignatureAlgorithm::ECDSA,
        }
    }
}

impl Signer for RemoteKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let transcript = transcript(message, self.side).ok_or_else(|| Error::General("not a TLS 1.3 handshake".to_owned()))?;
        (self.ask)(self.side, transcript.to_vec()).map_err(|why| Error::General(format!("the keeper did not sign: {why}")))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// What a verifier of TLS 1.3 alone checks of a handshake's signature. TLS 1.2 is not offered, so nobody comes to it.
macro_rules! tls13_signatures {
    ($self:ident => $algorithms:expr, $schemes:expr) => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &rustls::pki_types::CertificateDer<'_>,
            _signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
        }

        fn verify_tls13_signature(
            &$self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(message, certificate, signature, &$algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            $schemes.to_vec()
        }
    };
}
pub(crate) use tls13_signatures;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_verify_is_what_rfc_8446_shows_and_nothing_else() {
        // §4.4.3: 0x20 × 64, the context string, 0x00, the hash.
        let signed = content(Side::Server, &[0x01; 32]).unwrap();
        let expected = [vec![0x20; 64], b"TLS 1.3, server CertificateVerify".to_vec(), vec![0], vec![1; 32]].concat();
        assert_eq!(signed, expected);
        assert!(content(Side::Client, &[0; 48]).unwrap()[64..].starts_with(b"TLS 1.3, client"));
        for length in [0, 31, 33, 47, 49, 64, 1000] {
            assert_eq!(content(Side::Client, &vec![0; length]), None, "{length}");
        }
    }

    #[test]
    fn only_the_hash_of_the_transcript_goes_to_the_keeper() {
        let message = content(Side::Server, &[7; 48]).unwrap();
        assert_eq!(transcript(&message, Side::Server), Some(&[7; 48][..]));
        assert_eq!(transcript(&message, Side::Client), None);
        assert_eq!(transcript(&message[1..], Side::Server), None);
    }
}
