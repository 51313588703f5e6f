//! What the ticket of a host that registers by Kerberos is bound to: the connection, and the keys that it registers. The role
//! `net` carries both, and could exchange neither.

use sha2::{Digest, Sha256};

use crate::id::NodeId;
use crate::mesh::crypto::{KemPublicKey, SigningPublicKey};

/// What the channel binding begins with (RFC 5929 §4).
const END_POINT: &[u8] = b"tls-server-end-point:";
/// What the hash of the keys is over first.
const CONTEXT: &[u8] = b"reverie-register-v1";

/// The application data of the channel bindings (RFC 2744 §3.11), for the SHA-256 of the server's certificate and the keys.
pub fn channel_binding(certificate: &[u8; 32], node: &NodeId, signing: &SigningPublicKey, kem: &KemPublicKey) -> Vec<u8> {
    let keys = Sha256::new().chain_update(CONTEXT).chain_update(node.as_str()).chain_update(signing.0).chain_update(&kem.0[..]);
    [END_POINT, certificate, &keys.finalize()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_registered_can_be_exchanged() {
        let (a, b): (NodeId, NodeId) = ("a.example.org".parse().unwrap(), "b.example.org".parse().unwrap());
        let signing = |byte| SigningPublicKey([byte; 65]);
        let kem = |byte| KemPublicKey(Box::new([byte; 1184]));
        let bound = channel_binding(&[1; 32], &a, &signing(4), &kem(6));
        assert_eq!(bound.len(), END_POINT.len() + 64);
        for other in [
            channel_binding(&[2; 32], &a, &signing(4), &kem(6)),
            channel_binding(&[1; 32], &b, &signing(4), &kem(6)),
            channel_binding(&[1; 32], &a, &signing(5), &kem(6)),
            channel_binding(&[1; 32], &a, &signing(4), &kem(7)),
        ] {
            assert_ne!(bound, other);
        }
    }
}
