//! Heads that the host signs: what lies before one cannot be rewritten unseen.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use redb::{ReadableTable, ReadableTableMetadata, Table};
use reverie_core::audit::{ChainHead, SignedHead};
use reverie_core::moment::Moment;
use zeroize::Zeroizing;

use super::cipher::{Cipher, CipherError};
use super::error::Fault;
use super::schema::place;

/// Signed heads kept in the store; all of them are in `heads.jsonl`.
const KEPT: u64 = 1024;

/// The key that signs heads, ECDSA P-256. It signs nothing else.
pub(super) struct HeadKey {
    pair: EcdsaKeyPair,
    public_pem: String,
}

impl std::fmt::Debug for HeadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeadKey")
    }
}

impl HeadKey {
    /// A new key, as PKCS #8.
    pub(super) fn generate() -> Result<Zeroizing<Vec<u8>>, CipherError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    pub(super) fn from_pkcs8(bytes: &[u8]) -> Result<Self, CipherError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes).map_err(|_| CipherError)?;
        let spki = pair.public_key().as_der()?;
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        let public_pem = pem::encode_config(&pem::Pem::new("PUBLIC KEY", spki.as_ref()), config);
        Ok(Self { pair, public_pem })
    }

    /// SPKI, PEM.
    pub(super) fn public_pem(&self) -> &str {
        &self.public_pem
    }

    pub(super) fn sign(&self, head: ChainHead, time: Moment) -> Result<SignedHead, CipherError> {
        let signature = self.pair.sign(&SystemRandom::new(), &SignedHead::signed_bytes(&head, time))?;
        Ok(SignedHead { head, time, signature: BASE64_STANDARD.encode(signature.as_ref()) })
    }

    /// True if this host signed it.
    pub(super) fn signed(&self, signed: &SignedHead) -> bool {
        let Ok(signature) = BASE64_STANDARD.decode(&signed.signature) else { return false };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        key.verify(&SignedHead::signed_bytes(&signed.head, signed.time), &signature).is_ok()
    }
}

type Rows<'t> = Table<'t, u64, &'static [u8]>;

/// Keeps a signed head in the store.
pub(super) fn insert(rows: &mut Rows<'_>, cipher: &Cipher, signed: &SignedHead) -> Result<(), Fault> {
    let seq = signed.head.seq;
    let plain = postcard::to_stdvec(signed).map_err(|_| damaged(seq))?;
    let sealed = cipher.seal(&place::<8, 9>(b'h', &seq.to_be_bytes()), &plain).map_err(|_| damaged(seq))?;
    rows.insert(seq, &*sealed)?;
    while rows.len()? > KEPT {
        rows.pop_first()?;
    }
    Ok(())
}

/// The signed heads in the store, oldest first.
pub(super) fn list(rows: &impl ReadableTable<u64, &'static [u8]>, cipher: &Cipher) -> Result<Vec<SignedHead>, Fault> {
    rows.iter()?
        .map(|row| {
            let (seq, sealed) = row?;
            open(cipher, seq.value(), sealed.value())
        })
        .collect()
}

fn open(cipher: &Cipher, seq: u64, sealed: &[u8]) -> Result<SignedHead, Fault> {
    let plain = cipher.open(&place::<8, 9>(b'h', &seq.to_be_bytes()), sealed).map_err(|_| damaged(seq))?;
    postcard::from_bytes(&plain).map_err(|_| damaged(seq))
}

fn damaged(seq: u64) -> Fault {
    Fault::Content(format!("the signed head of event {seq} does not decrypt"))
}
