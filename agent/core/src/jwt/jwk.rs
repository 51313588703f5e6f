//! Public keys as JWK (RFC 7517, RFC 7518 §6.2).

use serde_json::{Value, json};

use crate::mesh::crypto::SigningPublicKey;

/// A P-256 key that verifies ES256, by its name.
pub fn jwk(key: &SigningPublicKey) -> Value {
    let (x, y) = key.0[1..].split_at(32);
    let text = |half: &[u8]| data_encoding::BASE64URL_NOPAD.encode(half);
    json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": key.kid().to_string(), "x": text(x), "y": text(y) })
}

/// A set of them.
pub fn jwk_set<'a>(keys: impl IntoIterator<Item = &'a SigningPublicKey>) -> Value {
    json!({ "keys": keys.into_iter().map(jwk).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_written_as_its_two_coordinates() {
        let mut point = [0; 65];
        (point[0], point[1], point[64]) = (4, 1, 2);
        let written = jwk(&SigningPublicKey(point));
        assert_eq!(written["x"], format!("AQ{}", "A".repeat(41)));
        assert_eq!(written["y"], format!("{}AI", "A".repeat(41)));
        assert_eq!(jwk_set([&SigningPublicKey(point)])["keys"][0], written);
    }
}
