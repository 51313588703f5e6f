//! A document of another trust domain, read: each certificate and key in it must be one that those can use who are handed it.
//! Clients read all that they get as a whole: one that they cannot parse would keep them from their own identity, too.

use aws_lc_rs::rsa::{PublicEncryptingKey, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey};
use reverie_core::federation::ForeignBundle;
use reverie_core::id::TrustDomain;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use webpki::anchor_from_trusted_cert;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Reads it. A root that is odd refuses the document; keys for tokens that are, of a new kind perhaps, are left out.
pub(super) fn read(domain: &TrustDomain, document: &[u8]) -> Result<ForeignBundle, String> {
    let mut bundle = ForeignBundle::read(document).map_err(|error| error.to_string())?;
    for root in &bundle.roots {
        authority(root).map_err(|why| format!("a root of it cannot be used: {why}"))?;
    }
    let published = bundle.jwt_keys.len() + bundle.wit_keys.len();
    for keys in [&mut bundle.jwt_keys, &mut bundle.wit_keys] {
        *keys = std::mem::take(keys).into_iter().filter_map(token_key).collect();
    }
    let left_out = published - bundle.jwt_keys.len() - bundle.wit_keys.len();
    if left_out > 0 {
        tracing::warn!(%domain, left_out, "keys for tokens in its bundle that no verifier of JWT-SVIDs can use are left out");
    }
    match bundle.roots.is_empty() && left_out == published {
        true => Err("it has no key that could be used".to_owned()),
        false => Ok(bundle),
    }
}

/// Whether it is one certificate of an authority, and nothing besides.
fn authority(der: &[u8]) -> Result<(), String> {
    let (rest, read) = X509Certificate::from_der(der).map_err(|error| format!("it cannot be read ({error})"))?;
    if !rest.is_empty() {
        return Err("something follows its certificate".to_owned());
    }
    anchor_from_trusted_cert(&CertificateDer::from(der)).map_err(|error| format!("it cannot be read ({error})"))?;
    if !read.is_ca() {
        return Err("it is none of an authority".to_owned());
    }
    let odd = read.extensions().iter().any(|extension| extension.parsed_extension().error().is_some());
    if odd || read.extensions_map().is_err() {
        return Err("an extension of it cannot be read, or is there twice".to_owned());
    }
    let key = read.public_key().raw;
    let of_a_curve = [&ECDSA_P256_SHA256_FIXED, &ECDSA_P384_SHA384_FIXED, &ECDSA_P521_SHA512_FIXED]
        .into_iter()
        .any(|curve| ParsedPublicKey::new(curve, key).is_ok());
    match of_a_curve || ParsedPublicKey::new(&ED25519, key).is_ok() || PublicEncryptingKey::from_der(key).is_ok() {
        true => Ok(()),
        false => Err("its key is none of ECDSA, Ed25519 or RSA of 2048 to 8192 bits".to_owned()),
    }
}

/// The key and nothing besides, if it can verify a JWT-SVID (§2.1 there: ECDSA and RSA). What else stands in it, `x5c` for one,
/// clients would read as well.
fn token_key(mut key: Value) -> Option<Value> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| data_encoding::BASE64URL_NOPAD.decode(text(name)?.as_bytes()).ok();
    let (members, algorithms): (&[&str], &[&str]) = match text("kty")? {
        "EC" => {
            let (curve, size, algorithm): (_, _, &[&str]) = match text("crv")? {
                "P-256" => (&ECDSA_P256_SHA256_FIXED, 32, &["ES256"]),
                "P-384" => (&ECDSA_P384_SHA384_FIXED, 48, &["ES384"]),
                "P-521" => (&ECDSA_P521_SHA512_FIXED, 66, &["ES512"]),
                _ => return None,
            };
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != size || y.len() != size {
                return None;
            }
            ParsedPublicKey::new(curve, [&[4], &x[..], &y].concat()).ok()?;
            (&["crv", "x", "y"], algorithm)
        }
        "RSA" => {
            let numbers = PublicKeyComponents { n: bytes("n")?, e: bytes("e")? };
            let _: PublicEncryptingKey = numbers.try_into().ok()?;
            (&["n", "e"], &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
        }
        _ => return None,
    };
    if key.get("alg").is_some_and(|algorithm| !algorithms.iter().any(|known| algorithm == known)) {
        return None;
    }
    let kept = |name: &str| ["kty", "use", "kid", "alg"].contains(&name) || members.contains(&name);
    key.as_object_mut()?.retain(|name, _| kept(name));
    Some(key)
}
