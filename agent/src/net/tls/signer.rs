//! This host's part of a handshake, signed by the keeper.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::ipc::net::{MeshIdentity, Reply, Request, Side};
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use super::verifier::SCHEME;
use crate::net::keeper::Keeper;

/// The keeper signs in well under a millisecond; a handshake that waits longer is given up.
const DEADLINE: Duration = Duration::from_secs(5);

/// What RFC 8446 §4.4.3 puts before the hash of the transcript: 64 spaces, a text and a zero.
const SERVER: &[u8] = b"TLS 1.3, server CertificateVerify\0";
const CLIENT: &[u8] = b"TLS 1.3, client CertificateVerify\0";

/// Our certificate with a key that is elsewhere.
pub(super) fn certified(keeper: &Arc<Keeper>, identity: &MeshIdentity, side: Side) -> Arc<SingleCertAndKey> {
    let chain = identity.certificate_chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = Arc::new(RemoteKey { keeper: Arc::clone(keeper), side });
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
}

#[derive(Debug, Clone)]
struct RemoteKey {
    keeper: Arc<Keeper>,
    side: Side,
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SCHEME).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for RemoteKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let transcript = transcript(message, self.side).ok_or_else(|| Error::General("not a TLS 1.3 handshake".to_owned()))?;
        let request = Request::SignHandshake { side: self.side, transcript: transcript.to_vec() };
        let ask = self.keeper.ask(&request, DEADLINE);
        // rustls asks in the middle of its work. The worker's other tasks go to another thread meanwhile.
        match tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ask)) {
            Ok(Reply::Signature(signature)) => Ok(signature),
            Ok(other) => Err(Error::General(format!("the keeper did not sign the handshake: {other:?}"))),
            Err(error) => Err(Error::General(error.to_string())),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

/// The keeper writes the rest itself, so that no statement of another kind can be had from it this way.
fn transcript(message: &[u8], side: Side) -> Option<&[u8]> {
    let context = match side {
        Side::Server => SERVER,
        Side::Client => CLIENT,
    };
    message.strip_prefix(&[0x20; 64])?.strip_prefix(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hash_of_the_transcript_goes_to_the_keeper() {
        let message = [&[0x20; 64][..], SERVER, &[7; 48]].concat();
        assert_eq!(transcript(&message, Side::Server), Some(&[7; 48][..]));
        assert_eq!(transcript(&message, Side::Client), None);
        assert_eq!(transcript(&message[1..], Side::Server), None);
    }
}
