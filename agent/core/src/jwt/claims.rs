//! What a JWT-SVID and a WIT-SVID say (SPIFFE JWT-SVID §3, WIT-SVID §3).

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::keys::MAX_TOKEN_TTL;
use crate::id::SpiffeId;
use crate::moment::Moment;

/// Audiences of one token.
pub const MAX_AUDIENCES: usize = 16;
/// Bytes of one audience.
const MAX_AUDIENCE: usize = 512;
/// `nbf` lies so far back, for verifiers whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(30);

/// For whom a token is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Audience(String);

/// No audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an audience is 1 to 512 bytes of text without control characters, and a token has 1 to 16 of them")]
pub struct InvalidAudience;

impl Audience {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Those of one token.
    pub fn all(given: &[String]) -> Result<Vec<Self>, InvalidAudience> {
        match given.len() {
            1..=MAX_AUDIENCES => given.iter().map(|one| one.parse()).collect(),
            _ => Err(InvalidAudience),
        }
    }
}

impl FromStr for Audience {
    type Err = InvalidAudience;
    fn from_str(text: &str) -> Result<Self, InvalidAudience> {
        match (1..=MAX_AUDIENCE).contains(&text.len()) && !text.chars().any(char::is_control) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidAudience),
        }
    }
}

/// From when to when a token counts, in whole seconds (RFC 7519 §2, NumericDate).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// When it was made.
    pub issued_at: Moment,
    /// From when on it counts.
    pub not_before: Moment,
    /// Until when.
    pub expires_at: Moment,
}

impl Lifetime {
    /// For `ttl`, at most an hour, and never past the end of the certificate that its holder would have: `not_after`.
    pub fn new(now: Moment, ttl: Duration, not_after: Moment) -> Self {
        let issued_at = now.truncated_to_secs();
        let expires_at = issued_at.after(ttl.min(MAX_TOKEN_TTL)).min(not_after.truncated_to_secs());
        Self { issued_at, not_before: issued_at.before(BACKDATED), expires_at }
    }
}

/// The claims of either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SvidClaims<'a> {
    sub: &'a SpiffeId,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    aud: &'a [Audience],
    exp: i64,
    iat: i64,
    nbf: i64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation<'a>>,
}

/// The key that its holder must prove to have (RFC 7800).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Confirmation<'a> {
    jwk: &'a serde_json::Value,
}

impl<'a> SvidClaims<'a> {
    /// Of a JWT-SVID: whoever has it is believed, by these audiences.
    pub fn bearer(subject: &'a SpiffeId, audiences: &'a [Audience], lifetime: Lifetime, jti: &'a str) -> Self {
        let Lifetime { issued_at, not_before, expires_at } = lifetime;
        let (exp, iat, nbf) = (expires_at.as_secs(), issued_at.as_secs(), not_before.as_secs());
        Self { sub: subject, aud: audiences, exp, iat, nbf, jti, cnf: None }
    }

    /// Of a WIT-SVID: who has the key `jwk` is believed.
    pub fn bound(subject: &'a SpiffeId, jwk: &'a serde_json::Value, lifetime: Lifetime, jti: &'a str) -> Self {
        Self { cnf: Some(Confirmation { jwk }), ..Self::bearer(subject, &[], lifetime, jti) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_who_for_whom_and_until_when() {
        let subject: SpiffeId = "spiffe://example.org/svc/web".parse().unwrap();
        let audiences = Audience::all(&["reports".to_owned()]).unwrap();
        let at = Moment::from_secs;
        let lifetime = Lifetime::new(at(1000), Duration::from_secs(300), at(5000));
        let said = serde_json::to_value(SvidClaims::bearer(&subject, &audiences, lifetime, "x")).unwrap();
        let expected = serde_json::json!({
            "sub": "spiffe://example.org/svc/web", "aud": ["reports"], "iat": 1000, "nbf": 970, "exp": 1300, "jti": "x"
        });
        assert_eq!(said, expected);
        let jwk = serde_json::json!({ "kty": "EC" });
        let said = serde_json::to_value(SvidClaims::bound(&subject, &jwk, lifetime, "x")).unwrap();
        assert_eq!((&said["cnf"]["jwk"]["kty"], said.get("aud")), (&serde_json::json!("EC"), None));
    }

    #[test]
    fn no_token_outlives_its_holders_certificate_or_an_hour() {
        let at = Moment::from_secs;
        assert_eq!(Lifetime::new(at(1000), Duration::from_secs(300), at(1100)).expires_at, at(1100));
        assert_eq!(Lifetime::new(at(1000), Duration::from_secs(86_400), at(999_999)).expires_at, at(4600));
    }

    #[test]
    fn audiences_are_bounded() {
        assert!(Audience::all(&[]).is_err() && Audience::all(&vec!["a".to_owned(); 17]).is_err());
        for odd in ["", "a\nb", &"a".repeat(513)] {
            assert!(Audience::all(&[odd.to_owned()]).is_err(), "{odd:?}");
        }
    }
}
