//! Making an envelope.

use der::asn1::AnyRef;
use der::{Encode, Tag};
use sha2::{Digest, Sha256};
use spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::profile::{
    AES_256_CBC, AES_256_WRAP, AES_256_WRAP_KEY, ECDSA_SHA_256, HKDF_SHA_256, ID_DATA, ID_ENVELOPED_DATA, ID_ORI_KEM,
    ID_SIGNED_DATA, ML_KEM_768, SHA_256,
};
use super::wire::{
    ContentInfo, EncapsulatedContent, EncryptedContent, EnvelopedData, KemRecipient, Octets, One, Other, OtherRecipient, Set,
    SignedData, SignerInfo,
};
use super::{attributes, recipient, signed_attributes};
use crate::mesh::crypto::{CryptoFailure, KemPublicKey, Kid, PublicOperations, Signer};

/// An encrypted message that has yet to be signed.
#[derive(Debug, Clone)]
pub struct Draft {
    enveloped: Vec<u8>,
    digest: [u8; 32],
}

/// Encrypts `plaintext` to `recipient` under a fresh content key.
pub fn draft(ops: &dyn PublicOperations, recipient: &KemPublicKey, plaintext: &[u8]) -> Result<Draft, CryptoFailure> {
    let (mut key, mut iv) = (Zeroizing::new([0; 32]), [0; 16]);
    ops.random(&mut *key)?;
    ops.random(&mut iv)?;
    let (ciphertext, shared_secret) = ops.encapsulate(recipient)?;
    let wrapped = ops.wrap(&*recipient::kek(ops, &shared_secret)?, &key)?;
    let content = ops.encrypt(&key, &iv, plaintext)?;

    let enveloped = EnvelopedData {
        version: 3,
        recipients: One(Other(OtherRecipient {
            kind: ID_ORI_KEM,
            value: KemRecipient {
                version: 0,
                key: Octets(&recipient.kid().0),
                kem: ML_KEM_768,
                ciphertext: Octets(&ciphertext[..]),
                kdf: HKDF_SHA_256,
                kek_length: AES_256_WRAP_KEY,
                wrap: AES_256_WRAP,
                wrapped_key: Octets(&wrapped),
            },
        })),
        content: EncryptedContent {
            content_type: ID_DATA,
            algorithm: AlgorithmIdentifierRef {
                oid: AES_256_CBC,
                parameters: Some(AnyRef::new(Tag::OctetString, &iv).map_err(|_| CryptoFailure)?),
            },
            content: Octets(&content),
        },
    }
    .to_der()
    .map_err(|_| CryptoFailure)?;
    let digest = Sha256::digest(&enveloped).into();
    Ok(Draft { enveloped, digest })
}

impl Draft {
    /// What is to be signed: [`signed_attributes`] of this.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The message, given the signer's DER signature over the [`signed_attributes`].
    pub fn finish(self, signer: &Kid, signature: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        let message = ContentInfo {
            content_type: ID_SIGNED_DATA,
            content: SignedData {
                version: 3,
                digest_algorithms: One(SHA_256),
                content: EncapsulatedContent { content_type: ID_ENVELOPED_DATA, content: Octets(&self.enveloped) },
                signers: One(SignerInfo {
                    version: 3,
                    key: Octets(&signer.0),
                    digest_algorithm: SHA_256,
                    attributes: Set(&attributes::members(&self.digest)),
                    signature_algorithm: ECDSA_SHA_256,
                    signature: Octets(signature),
                }),
            },
        };
        // Fails only for more than der's bound of 256 MiB.
        message.to_der().map_err(|_| CryptoFailure)
    }
}

/// Both steps at once, where the signing key is at hand.
pub fn seal(
    ops: &dyn PublicOperations,
    signer: &dyn Signer,
    recipient: &KemPublicKey,
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoFailure> {
    let draft = draft(ops, recipient, plaintext)?;
    let signature = signer.sign_der(&signed_attributes(draft.digest()))?;
    draft.finish(&signer.public_key().kid(), &signature)
}
