//! ECDSA signatures as DER (RFC 3279 §2.2.3).

use der::asn1::UintRef;
use der::{Encode, Sequence};
use reverie_core::mesh::crypto::CryptoFailure;

#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// From r ‖ s.
pub fn to_der(signature: &[u8; 64]) -> Result<Vec<u8>, CryptoFailure> {
    let (r, s) = signature.split_at(32);
    let number = |bytes| UintRef::new(bytes).map_err(|_| CryptoFailure);
    EcdsaSignature { r: number(r)?, s: number(s)? }.to_der().map_err(|_| CryptoFailure)
}
