//! What net can have signed and opened. Each is of a fixed shape that is written here, so that none can be taken for another:
//! a TLS CertificateVerify begins with 64 spaces, signed attributes with a DER SET, a record with its context.

use reverie_core::ipc::net::{Digest, Reply, Side};
use reverie_core::mesh::crypto::{Kid, Signer};
use reverie_core::mesh::envelope;
use reverie_crypto::aws::Aws;

use super::Mesh;
use crate::ops::certificate_verify;

fn no_keys() -> Reply {
    Reply::Failed { message: "this host has no keys in a mesh".to_owned() }
}

impl Mesh {
    pub(super) fn sign_handshake(&self, side: Side, transcript: &[u8]) -> Reply {
        let Some(content) = certificate_verify::content(side, transcript) else {
            return Reply::Failed { message: "a transcript hash has 32 or 48 bytes".to_owned() };
        };
        self.sign(&content)
    }

    pub(super) fn sign_envelope(&self, digest: &Digest) -> Reply {
        self.sign(&envelope::signed_attributes(digest))
    }

    fn sign(&self, content: &[u8]) -> Reply {
        let Some(ring) = self.keys() else { return no_keys() };
        match ring.speaking.signing.sign_der(content) {
            Ok(signature) => Reply::Signature(signature),
            Err(error) => Reply::Failed { message: error.to_string() },
        }
    }

    /// Whatever is wrong, the same work is done and the same is said.
    pub(super) fn open_envelope(&self, kem_kid: &Kid, ciphertext: &[u8], wrapped_key: &[u8]) -> Reply {
        let Some(ring) = self.keys() else { return no_keys() };
        let known = ring.kem(kem_kid);
        let shaped = (ciphertext.try_into().ok(), wrapped_key.try_into().ok());
        let fits = known.is_some() && shaped.0.is_some() && shaped.1.is_some();
        let (ciphertext, wrapped_key) = (shaped.0.unwrap_or([0; 1088]), shaped.1.unwrap_or([0; 40]));
        let key = envelope::content_key(&Aws, known.unwrap_or(&ring.current.kem), &ciphertext, &wrapped_key);
        match key {
            Ok(key) if fits => Reply::ContentKey(*key),
            _ => Reply::Refused { status: 400, message: "the envelope cannot be opened".to_owned() },
        }
    }
}
