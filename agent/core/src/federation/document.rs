//! The bundle as a JSON document.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::jwt::{Purpose, jwk};
use crate::mesh::crypto::SigningPublicKey;

/// Bytes of a document.
pub const MAX_DOCUMENT: usize = 1 << 20;
/// Roots in it, and bytes of them together: 32 such bundles still fit into one message of the Workload API.
const MAX_ROOTS: (usize, usize) = (32, 48 << 10);
/// Keys in it, of any use. A mesh has two of each host, four while it changes them; 1 MiB holds no more.
const MAX_KEYS: usize = 8192;
/// Bytes of a certificate in it.
const MAX_CERTIFICATE: usize = 8 << 10;
/// How often our own is to be fetched, in seconds.
const REFRESH_HINT: u64 = 300;

/// What a bundle is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleKeys {
    /// Roots: certificate, DER, and the key in it.
    pub roots: Vec<(Vec<u8>, SigningPublicKey)>,
    /// Keys that verify tokens.
    pub token_keys: Vec<(Purpose, SigningPublicKey)>,
}

/// The bundle of our trust domain. Without a sequence number: hosts serve it side by side, and none counts for all.
pub fn own_document(keys: &BundleKeys) -> Value {
    let root = |(certificate, key): &(Vec<u8>, SigningPublicKey)| {
        let mut entry = jwk(key);
        if let Some(fields) = entry.as_object_mut() {
            // An X.509 key has no name here, and signs certificates with whatever it likes.
            fields.retain(|name, _| name != "kid" && name != "alg");
            fields.insert("use".to_owned(), json!("x509-svid"));
            fields.insert("x5c".to_owned(), json!([data_encoding::BASE64.encode(certificate)]));
        }
        entry
    };
    let token_key = |(purpose, key): &(Purpose, SigningPublicKey)| {
        let mut entry = jwk(key);
        entry["use"] = json!(purpose.key_use());
        entry
    };
    let keys: Vec<Value> = keys.roots.iter().map(root).chain(keys.token_keys.iter().map(token_key)).collect();
    json!({ "keys": keys, "spiffe_refresh_hint": REFRESH_HINT })
}

/// No bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no SPIFFE bundle: {0}")]
pub struct InvalidBundle(String);

/// The bundle of another trust domain, read: what its certificates and keys are worth, the shell looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignBundle {
    /// Roots, DER.
    pub roots: Vec<Vec<u8>>,
    /// Keys for JWT-SVIDs, as JWK with a `kid`.
    pub jwt_keys: Vec<Value>,
    /// Keys for WIT-SVIDs.
    pub wit_keys: Vec<Value>,
    /// Counts up with each change, where its owner counts.
    pub sequence: Option<u64>,
    /// How often its owner wants it to be fetched.
    pub refresh_hint: Option<Duration>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Map<String, Value>>,
    spiffe_sequence: Option<u64>,
    spiffe_refresh_hint: Option<f64>,
}

impl ForeignBundle {
    /// Reads a document. What it has of other uses is passed over (§4.2.2).
    pub fn read(document: &[u8]) -> Result<Self, InvalidBundle> {
        let wrong = |why: &str| InvalidBundle(why.to_owned());
        if document.len() > MAX_DOCUMENT {
            return Err(wrong("it is larger than 1 MiB"));
        }
        let Document { keys, spiffe_sequence, spiffe_refresh_hint } =
            serde_json::from_slice(document).map_err(|error| InvalidBundle(error.to_string()))?;
        if keys.len() > MAX_KEYS {
            return Err(wrong("it has more than 8192 keys"));
        }
        let hint = spiffe_refresh_hint.filter(|hint| (1.0..=1e9).contains(hint)).map(Duration::from_secs_f64);
        let mut bundle = Self { sequence: spiffe_sequence, refresh_hint: hint, ..Self::default() };
        let mut names = BTreeSet::new();
        for key in keys {
            match key.get("use").and_then(Value::as_str) {
                Some("x509-svid") => bundle.roots.push(certificate(&key)?),
                Some(kind @ ("jwt-svid" | "wit-svid")) => {
                    let name = key.get("kid").and_then(Value::as_str).filter(|name| (1..=256).contains(&name.len()));
                    let name = name.ok_or_else(|| wrong("a key for tokens has no `kid`, or an odd one"))?;
                    if key.contains_key("d") || key.get("kty").and_then(Value::as_str) == Some("oct") {
                        return Err(wrong("it holds a secret key: whoever published it should change that key"));
                    }
                    if !names.insert(name.to_owned()) {
                        return Err(wrong("two of its keys have one `kid`"));
                    }
                    let kept = if kind == "jwt-svid" { &mut bundle.jwt_keys } else { &mut bundle.wit_keys };
                    kept.push(Value::Object(key));
                }
                _ => {}
            }
        }
        if bundle.roots.len() > MAX_ROOTS.0 || bundle.roots.iter().map(Vec::len).sum::<usize>() > MAX_ROOTS.1 {
            return Err(wrong("it has more than 32 roots, or more than 48 KiB of them"));
        }
        match bundle.roots.is_empty() && bundle.jwt_keys.is_empty() && bundle.wit_keys.is_empty() {
            true => Err(wrong("it has no key that could be used")),
            false => Ok(bundle),
        }
    }

    /// True if it may take the place of `before`: its owner counts, and it is not older.
    pub fn may_replace(&self, before: &Self) -> bool {
        match (self.sequence, before.sequence) {
            (Some(new), Some(old)) => new >= old,
            _ => true,
        }
    }
}

/// Exactly one, as §4.2.2 has it.
fn certificate(key: &Map<String, Value>) -> Result<Vec<u8>, InvalidBundle> {
    let wrong = || InvalidBundle("an x509-svid key has not exactly one certificate (x5c)".to_owned());
    let [Value::String(text)] = key.get("x5c").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) else {
        return Err(wrong());
    };
    if text.len() > MAX_CERTIFICATE * 4 / 3 + 4 {
        return Err(wrong());
    }
    data_encoding::BASE64.decode(text.as_bytes()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> SigningPublicKey {
        let mut point = [number; 65];
        point[0] = 4;
        SigningPublicKey(point)
    }

    #[test]
    fn what_we_write_is_read_back() {
        let keys = BundleKeys {
            roots: vec![(vec![0x30, 1], key(1)), (vec![0x30, 2], key(2))],
            token_keys: vec![(Purpose::JwtSvid, key(3)), (Purpose::WitSvid, key(4))],
        };
        let read = ForeignBundle::read(own_document(&keys).to_string().as_bytes()).unwrap();
        assert_eq!(read.roots, [vec![0x30, 1], vec![0x30, 2]]);
        assert_eq!((read.jwt_keys.len(), read.wit_keys.len()), (1, 1));
        assert_eq!(
            (&read.jwt_keys[0]["kid"], read.refresh_hint),
            (&json!(key(3).kid().to_string()), Some(Duration::from_secs(300)))
        );
    }

    #[test]
    fn what_is_odd_in_a_bundle_refuses_it_as_a_whole_and_what_is_unknown_is_passed_over() {
        let read = |keys: Value| ForeignBundle::read(json!({ "keys": keys }).to_string().as_bytes());
        let jwt = json!({ "use": "jwt-svid", "kid": "a", "kty": "EC" });
        assert!(read(json!([jwt, { "use": "something-new" }, { "kty": "EC" }])).is_ok());
        for odd in [
            json!([]),
            json!([jwt, jwt]),
            json!([{ "use": "jwt-svid", "kty": "EC" }]),
            json!([{ "use": "jwt-svid", "kid": "a", "kty": "oct", "k": "AA" }]),
            json!([{ "use": "jwt-svid", "kid": "a", "kty": "EC", "d": "AA" }]),
            json!([{ "use": "x509-svid", "x5c": [] }]),
            json!([{ "use": "x509-svid", "x5c": ["AA==", "AA=="] }]),
            json!([{ "use": "x509-svid", "x5c": ["not base64"] }]),
            json!(vec![json!({ "use": "x509-svid", "x5c": ["AA=="] }); 33]),
            json!(vec![jwt; 8193]),
        ] {
            assert!(read(odd.clone()).is_err(), "{odd}");
        }
        assert!(ForeignBundle::read(b"<html>").is_err() && ForeignBundle::read(&vec![b' '; MAX_DOCUMENT + 1]).is_err());
    }

    #[test]
    fn an_older_bundle_takes_no_newer_ones_place() {
        let numbered = |sequence| ForeignBundle { sequence, ..ForeignBundle::default() };
        assert!(!numbered(Some(1)).may_replace(&numbered(Some(2))));
        for (new, old) in [(Some(2), Some(2)), (Some(3), Some(2)), (None, Some(2)), (Some(1), None)] {
            assert!(numbered(new).may_replace(&numbered(old)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = ForeignBundle::read(&bytes);
        }
    }
}
