//! Whether a JWT-SVID counts: its header before its signature is looked at, its claims after (SPIFFE JWT-SVID §2 to §4).

use serde::Deserialize;
use serde_json::{Map, Value};

use super::MAX_TOKEN;
use super::claims::Audience;
use crate::id::SpiffeId;
use crate::moment::Moment;

/// Verifiers' and signers' clocks differ, in seconds.
const LEEWAY: i64 = 30;
/// The signature algorithms there are (§2.1).
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];

/// The header. Nothing else may stand in it (§2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Signature algorithm, one of those there are.
    pub alg: String,
    /// Which key.
    pub kid: String,
    /// `JWT`, `JOSE` or nothing.
    pub typ: Option<String>,
}

/// Why a token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Not of the form.
    #[error("it is no signed JWT of at most 8 KiB in compact form with a header of alg, kid and typ alone")]
    Form,
    /// Another algorithm.
    #[error("its algorithm or type is not one that a JWT-SVID may have")]
    Algorithm,
    /// No such key.
    #[error("no host that is in says it has the key that this token names")]
    Key,
    /// The signature is another's.
    #[error("its signature is not by that key")]
    Signature,
    /// It ended, or has not begun.
    #[error("it has ended, or is not valid yet")]
    Time,
    /// For somebody else.
    #[error("it is for another audience")]
    Audience,
    /// A claim is missing or odd.
    #[error("the claim {0} is missing or not what it should be")]
    Claim(&'static str),
    /// The key may not speak for that identity.
    #[error("the host whose key signed it may not issue that SPIFFE ID")]
    Subject,
}

/// Reads the header of a token whose signature is not verified yet.
pub fn header(token: &str) -> Result<Header, Rejected> {
    let mut parts = token.split('.');
    let (Some(first), Some(_), Some(_), None, true) =
        (parts.next(), parts.next(), parts.next(), parts.next(), token.len() <= MAX_TOKEN)
    else {
        return Err(Rejected::Form);
    };
    let bytes = data_encoding::BASE64URL_NOPAD.decode(first.as_bytes()).map_err(|_| Rejected::Form)?;
    let header: Header = serde_json::from_slice(&bytes).map_err(|_| Rejected::Form)?;
    let known_type = header.typ.as_deref().is_none_or(|typ| matches!(typ, "JWT" | "JOSE"));
    match ALGORITHMS.contains(&header.alg.as_str()) && known_type {
        true => Ok(header),
        false => Err(Rejected::Algorithm),
    }
}

/// Whose token it is, if it counts for `audience` now; its signature was verified by a key of the trust domain `domain`.
pub fn judge(claims: &Map<String, Value>, domain: &str, audience: &Audience, now: Moment) -> Result<SpiffeId, Rejected> {
    let number = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        // A NumericDate may have a fraction (RFC 7519 §2).
        Some(value) => value.as_f64().filter(|number| number.is_finite()).map(Some).ok_or(Rejected::Claim(name)),
    };
    let now = now.as_secs() as f64;
    let expires = number("exp")?.ok_or(Rejected::Claim("exp"))?;
    if expires + LEEWAY as f64 <= now || number("nbf")?.is_some_and(|begins| begins - LEEWAY as f64 > now) {
        return Err(Rejected::Time);
    }
    let is_for = match claims.get("aud") {
        Some(Value::String(one)) => one == audience.as_str(),
        Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience.as_str())),
        _ => return Err(Rejected::Claim("aud")),
    };
    if !is_for {
        return Err(Rejected::Audience);
    }
    let subject = claims.get("sub").and_then(Value::as_str).and_then(|sub| sub.parse::<SpiffeId>().ok());
    let subject = subject.ok_or(Rejected::Claim("sub"))?;
    match subject.trust_domain() == domain {
        true => Ok(subject),
        false => Err(Rejected::Claim("sub")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn token(header: &Value) -> String {
        format!("{}.e30.AA", data_encoding::BASE64URL_NOPAD.encode(header.to_string().as_bytes()))
    }

    #[test]
    fn only_a_plain_header_with_a_signature_algorithm_is_looked_at() {
        let good = json!({ "alg": "ES256", "kid": "k", "typ": "JWT" });
        assert_eq!(header(&token(&good)).unwrap().kid, "k");
        for (odd, why) in [
            (json!({ "alg": "none", "kid": "k" }), Rejected::Algorithm),
            (json!({ "alg": "HS256", "kid": "k" }), Rejected::Algorithm),
            (json!({ "alg": "ES256", "kid": "k", "typ": "at+jwt" }), Rejected::Algorithm),
            (json!({ "alg": "ES256", "kid": "k", "typ": "wit+jwt" }), Rejected::Algorithm),
            (json!({ "alg": "ES256", "kid": "k", "jku": "https://evil" }), Rejected::Form),
            (json!({ "alg": "ES256", "kid": "k", "crit": ["b64"] }), Rejected::Form),
            (json!({ "alg": "ES256" }), Rejected::Form),
        ] {
            assert_eq!(header(&token(&odd)), Err(why), "{odd}");
        }
        for odd in ["", "a.b", "a.b.c.d", "e30=.e30.AA", &format!("{}.e30.{}", "e30", "A".repeat(MAX_TOKEN))] {
            assert_eq!(header(odd), Err(Rejected::Form));
        }
    }

    fn judged(claims: &Value) -> Result<SpiffeId, Rejected> {
        judge(claims.as_object().unwrap(), "example.org", &"me".parse().unwrap(), Moment::from_secs(1000))
    }

    #[test]
    fn claims_count_for_their_audience_in_their_time_and_trust_domain() {
        let good = json!({ "sub": "spiffe://example.org/a", "aud": ["you", "me"], "exp": 1001, "nbf": 900 });
        assert_eq!(judged(&good).unwrap().as_str(), "spiffe://example.org/a");
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            judged(&claims)
        };
        let without = |name: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(name);
            judged(&claims)
        };
        assert!(with("aud", json!("me")).is_ok() && with("exp", json!(1000.5)).is_ok() && without("nbf").is_ok());
        assert_eq!(with("aud", json!(["you"])), Err(Rejected::Audience));
        assert_eq!(with("aud", json!({ "me": 1 })), Err(Rejected::Claim("aud")));
        assert_eq!(with("exp", json!(900)), Err(Rejected::Time));
        assert_eq!(with("exp", json!("soon")), Err(Rejected::Claim("exp")));
        assert_eq!(with("nbf", json!(2000)), Err(Rejected::Time));
        for odd in ["spiffe://other.org/a", "https://example.org/a", "spiffe://example.org.evil/a", "", "spiffe://EXAMPLE.org/a"]
        {
            assert_eq!(with("sub", json!(odd)), Err(Rejected::Claim("sub")), "{odd}");
        }
        for name in ["sub", "aud", "exp"] {
            assert_eq!(without(name), Err(Rejected::Claim(name)));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_of_headers_panic(text in "\\PC{0,200}") {
            let _ = header(&text);
        }
    }
}
