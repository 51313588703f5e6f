//! Reading an envelope.

use der::{Decode, Tag, Tagged};
use sha2::{Digest, Sha256};
use spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::profile::{
    AES_256_CBC, AES_256_WRAP, AES_256_WRAP_KEY, ECDSA_SHA_256, HKDF_SHA_256, ID_DATA, ID_ENVELOPED_DATA, ID_ORI_KEM,
    ID_SIGNED_DATA, ML_KEM_768, SHA_256,
};
use super::wire::{ContentInfo, EnvelopedData, One, Other};
use super::{EnvelopeError, attributes};
use crate::mesh::crypto::{CryptoFailure, KemCiphertext, Kid, PublicOperations, SigningPublicKey};

/// An envelope whose outer structure is right. Its signature has yet to be verified.
#[derive(Debug)]
pub struct Parsed<'a> {
    signer: Kid,
    /// What is signed.
    attributes: Vec<u8>,
    digest: [u8; 32],
    signature: &'a [u8],
    enveloped: &'a [u8],
}

/// An envelope by the sender that it was verified for.
#[derive(Debug)]
pub struct Verified<'a> {
    kem_kid: Kid,
    ciphertext: &'a KemCiphertext,
    wrapped_key: &'a [u8; 40],
    iv: &'a [u8; 16],
    content: &'a [u8],
}

/// Reads the outer structure of a message of at most `max` bytes.
pub fn parse(der: &[u8], max: usize) -> Result<Parsed<'_>, EnvelopeError> {
    use EnvelopeError::Malformed;
    if der.len() > max {
        return Err(EnvelopeError::TooLarge);
    }
    let ContentInfo { content_type, content: signed } =
        ContentInfo::from_der(der).map_err(|_| Malformed("not the DER of SignedData with one signer and no certificates"))?;
    let One(signer) = signed.signers;
    if content_type != ID_SIGNED_DATA || signed.content.content_type != ID_ENVELOPED_DATA {
        return Err(Malformed("not SignedData of EnvelopedData"));
    }
    // With a subjectKeyIdentifier both are 3 (RFC 5652 §5.1, §5.3).
    if signed.version != 3 || signer.version != 3 {
        return Err(Malformed("unknown version"));
    }
    if !is_sha_256(signed.digest_algorithms.0) || !is_sha_256(signer.digest_algorithm) {
        return Err(Malformed("the digest is not SHA-256"));
    }
    if signer.signature_algorithm != ECDSA_SHA_256 {
        return Err(Malformed("the signature is not ECDSA with SHA-256"));
    }
    Ok(Parsed {
        signer: signer.key.0.try_into().map_err(|_| Malformed("the signer's key id is not 20 bytes"))?,
        digest: attributes::read(signer.attributes)?,
        attributes: attributes::tagged(signer.attributes),
        signature: signer.signature.0,
        enveloped: signed.content.content.0,
    })
}

/// RFC 5754 §2: absent parameters are to be sent, NULL is to be taken.
fn is_sha_256(algorithm: AlgorithmIdentifierRef<'_>) -> bool {
    algorithm.oid == SHA_256.oid && algorithm.parameters.is_none_or(|parameters| parameters.is_null())
}

impl<'a> Parsed<'a> {
    /// Which key it says it is signed with: where to look up the pinned one. Proves nothing.
    pub fn signer(&self) -> Kid {
        self.signer
    }

    /// Verifies the signature with the pinned `key`, and only then reads what is inside.
    pub fn verify(&self, ops: &dyn PublicOperations, key: &SigningPublicKey) -> Result<Verified<'a>, EnvelopeError> {
        if key.kid() != self.signer || <[u8; 32]>::from(Sha256::digest(self.enveloped)) != self.digest {
            return Err(EnvelopeError::BadSignature);
        }
        ops.verify_der(key, &self.attributes, self.signature).map_err(|_| EnvelopeError::BadSignature)?;
        read_inner(self.enveloped).map_err(|_| EnvelopeError::Unopenable)
    }
}

/// What can be seen of an envelope without any key. Nothing of it is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Which key it says it is signed with.
    pub signer: Kid,
    /// Which key it is sealed to.
    pub recipient: Kid,
    /// Bytes of the encrypted content.
    pub content: usize,
}

/// Looks at an envelope as it is, for tools that show it to people; whoever acts on one verifies it first.
pub fn outline(der: &[u8], max: usize) -> Result<Outline, EnvelopeError> {
    let parsed = parse(der, max)?;
    let inner = read_inner(parsed.enveloped).map_err(EnvelopeError::Malformed)?;
    Ok(Outline { signer: parsed.signer, recipient: inner.kem_kid, content: inner.content.len() })
}

/// Reads the EnvelopedData. The reason of a refusal is for [`outline`], never for the peer.
fn read_inner(der: &[u8]) -> Result<Verified<'_>, &'static str> {
    let EnvelopedData { version, recipients: One(Other(recipient)), content } =
        EnvelopedData::from_der(der).map_err(|_| "not the DER of EnvelopedData with one recipient")?;
    let kem = recipient.value;
    if version != 3 || kem.version != 0 {
        return Err("unknown version");
    }
    if recipient.kind != ID_ORI_KEM || kem.kem != ML_KEM_768 || kem.kdf != HKDF_SHA_256 || kem.wrap != AES_256_WRAP {
        return Err("not ML-KEM-768 with HKDF-SHA256 and AES-256 key wrap");
    }
    // RFC 9629 §3: MUST be what the wrap algorithm takes.
    if kem.kek_length != AES_256_WRAP_KEY {
        return Err("kekLength does not fit the wrap algorithm");
    }
    if content.content_type != ID_DATA || content.algorithm.oid != AES_256_CBC {
        return Err("not data under AES-256-CBC");
    }
    let iv = content.algorithm.parameters.filter(|iv| iv.tag() == Tag::OctetString).ok_or("the IV is missing")?;
    Ok(Verified {
        kem_kid: kem.key.0.try_into().map_err(|_| "the recipient's key id is not 20 bytes")?,
        ciphertext: kem.ciphertext.0.try_into().map_err(|_| "the KEM ciphertext is not 1088 bytes")?,
        wrapped_key: kem.wrapped_key.0.try_into().map_err(|_| "the wrapped key is not 40 bytes")?,
        iv: iv.value().try_into().map_err(|_| "the IV is not 16 bytes")?,
        content: content.content.0,
    })
}

impl Verified<'_> {
    /// Which of our KEM keys it is sealed to.
    pub fn kem_kid(&self) -> Kid {
        self.kem_kid
    }

    /// For [`super::content_key`].
    pub fn kem_ciphertext(&self) -> &KemCiphertext {
        self.ciphertext
    }

    /// For [`super::content_key`].
    pub fn wrapped_key(&self) -> &[u8; 40] {
        self.wrapped_key
    }

    /// Decrypts the content.
    pub fn open(&self, ops: &dyn PublicOperations, content_key: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        ops.decrypt(content_key, self.iv, self.content).map_err(|CryptoFailure| EnvelopeError::Unopenable)
    }
}
