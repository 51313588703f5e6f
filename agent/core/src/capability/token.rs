//! Minting, attenuating, inspecting and authorising tokens.

use std::time::{Duration, UNIX_EPOCH};

use biscuit_auth::builder::{Algorithm, AuthorizerBuilder, BiscuitBuilder, BlockBuilder, Term};
use biscuit_auth::macros::{authorizer, check, fact};
use biscuit_auth::{AuthorizerLimits, Biscuit, KeyPair, PrivateKey, PublicKey, UnverifiedBiscuit};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::Grant;
use crate::moment::Moment;

/// A longer token is refused before it is decoded.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// A token with more blocks is refused before it is run.
const MAX_BLOCKS: usize = 16;

/// Why a token was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too long, too many blocks, or no Biscuit at all.
    #[error("this is not a capability token: {0}")]
    Malformed(String),
    /// Signed by another host, or altered.
    #[error("the token was not minted by this host, or it was altered")]
    NotOurs,
    /// It does not allow this operation here and now.
    #[error("the token does not allow {operation:?} for uid {uid} now: {why}")]
    Refused {
        /// The operation asked for.
        operation: String,
        /// The caller's uid.
        uid: u32,
        /// Which check failed.
        why: String,
    },
    /// It was revoked, or a token it was attenuated from was.
    #[error("the token was revoked")]
    Revoked,
}

/// A way to make a token narrower.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restriction {
    /// Only these operations; empty leaves them as they are.
    pub only: Vec<Grant>,
    /// Not after this moment.
    pub expires_at: Option<Moment>,
    /// Only callers of this uid.
    pub uid: Option<u32>,
}

/// What the caller wants to do, and the circumstances.
#[derive(Debug, Clone)]
pub struct Presented<'a> {
    /// The operation.
    pub operation: &'a Grant,
    /// The caller's uid, from the kernel.
    pub uid: u32,
    /// Now.
    pub now: Moment,
}

/// A token's content, readable by anyone who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Datalog source of each block, the authority's first.
    pub blocks: Vec<String>,
    /// Revocation id of each block, hex.
    pub revocation_ids: Vec<String>,
}

/// The key that signs tokens, from its 32 secret bytes.
pub fn root_key(secret: &[u8; 32]) -> Result<KeyPair, TokenError> {
    let key = PrivateKey::from_bytes(secret, Algorithm::Ed25519).map_err(malformed)?;
    Ok(KeyPair::from(&key))
}

/// A public key as [`crate::api::admin::TokenKey`] gives it: `ed25519/HEX`.
pub fn parse_public_key(text: &str) -> Result<PublicKey, TokenError> {
    let hex = text.trim().strip_prefix("ed25519/").ok_or_else(|| malformed("a public key looks like \"ed25519/HEX\""))?;
    PublicKey::from_bytes_hex(hex, Algorithm::Ed25519).map_err(malformed)
}

/// Mints a token; also returns its revocation id, hex. `next_key` is 32 fresh random bytes.
pub fn mint(root: &KeyPair, next_key: &[u8; 32], grants: &[Grant], limits: &Restriction) -> Result<(String, String), TokenError> {
    let mut builder = BiscuitBuilder::new();
    for Grant { thing, verb, name } in grants {
        let (thing, verb, name) = (*thing, *verb, name.as_str());
        builder = builder.fact(fact!("right({thing}, {verb}, {name})")).map_err(malformed)?;
    }
    for check in checks(limits) {
        builder = builder.check(check).map_err(malformed)?;
    }
    let token = builder
        .build_with_key_pair(root, biscuit_auth::datalog::SymbolTable::default(), &root_key(next_key)?)
        .map_err(malformed)?;
    let revocation_id = token.revocation_identifiers().first().map(|id| HEXLOWER.encode(id)).unwrap_or_default();
    Ok((token.to_base64().map_err(malformed)?, revocation_id))
}

/// Appends a block that makes the token narrower. Needs no key of the host. `next_key` is 32 fresh random bytes.
pub fn attenuate(token: &str, next_key: &[u8; 32], restriction: &Restriction) -> Result<String, TokenError> {
    let mut block = BlockBuilder::new();
    for check in checks(restriction) {
        block = block.check(check).map_err(malformed)?;
    }
    let narrower = unverified(token)?.append_with_keypair(&root_key(next_key)?, block).map_err(malformed)?;
    narrower.to_base64().map_err(malformed)
}

/// What a token says, without checking who signed it.
pub fn inspect(token: &str) -> Result<Inspection, TokenError> {
    let token = unverified(token)?;
    let blocks = (0..token.block_count()).map(|index| token.print_block_source(index).map_err(malformed));
    Ok(Inspection {
        blocks: blocks.collect::<Result<_, _>>()?,
        revocation_ids: token.revocation_identifiers().iter().map(|id| HEXLOWER.encode(id)).collect(),
    })
}

/// Does the token, minted by `root`, allow this now? Returns its revocation ids (hex) for the audit log.
pub fn authorize(
    token: &str,
    root: PublicKey,
    presented: &Presented<'_>,
    mut is_revoked: impl FnMut(&str) -> bool,
) -> Result<Vec<String>, TokenError> {
    let token: Biscuit = unverified(token)?.verify(|_| Ok(root)).map_err(|_| TokenError::NotOurs)?;
    let revocation_ids: Vec<String> = token.revocation_identifiers().iter().map(|id| HEXLOWER.encode(id)).collect();
    if revocation_ids.iter().any(|id| is_revoked(id)) {
        return Err(TokenError::Revoked);
    }
    let Grant { thing, verb, name } = presented.operation;
    let (thing, verb, name) = (*thing, *verb, name.as_str());
    let (time, uid) = (date(presented.now), i64::from(presented.uid));
    let builder: AuthorizerBuilder = authorizer!(
        r#"
        time({time});
        uid({uid});
        operation({thing}, {verb}, {name});
        allow if operation($thing, $verb, $name), right($thing, $verb, $name);
        allow if operation($thing, $verb, $name), right($thing, $verb, "*");
        deny if true;
        "#
    );
    let limits = AuthorizerLimits { max_facts: 1000, max_iterations: 100, max_time: Duration::from_millis(200) };
    let verdict = builder.set_limits(limits).build(&token).and_then(|mut authorizer| authorizer.authorize());
    match verdict {
        Ok(_) => Ok(revocation_ids),
        Err(why) => {
            let why = why.to_string();
            Err(TokenError::Refused { operation: presented.operation.to_string(), uid: presented.uid, why })
        }
    }
}

fn unverified(token: &str) -> Result<UnverifiedBiscuit, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(malformed(format!("it is longer than {MAX_TOKEN_BYTES} bytes")));
    }
    let token = UnverifiedBiscuit::from_base64(token.trim()).map_err(|_| malformed("it is not a Biscuit in base64"))?;
    match token.block_count() > MAX_BLOCKS {
        true => Err(malformed(format!("it has more than {MAX_BLOCKS} blocks"))),
        false => Ok(token),
    }
}

fn checks(restriction: &Restriction) -> Vec<biscuit_auth::builder::Check> {
    let mut checks = vec![];
    if let Some(end) = restriction.expires_at {
        let end = date(end);
        checks.push(check!("check if time($now), $now < {end}"));
    }
    if let Some(uid) = restriction.uid {
        let uid = i64::from(uid);
        checks.push(check!("check if uid({uid})"));
    }
    let mut alternatives = restriction.only.iter().map(|Grant { thing, verb, name }| {
        let (thing, verb, name) = (*thing, *verb, name.as_str());
        match name {
            "*" => check!("check if operation({thing}, {verb}, $any)"),
            _ => check!("check if operation({thing}, {verb}, {name})"),
        }
    });
    if let Some(mut only) = alternatives.next() {
        alternatives.for_each(|other| only.queries.extend(other.queries));
        checks.push(only);
    }
    checks
}

fn date(moment: Moment) -> Term {
    let since_epoch = Duration::from_secs(u64::try_from(moment.as_secs()).unwrap_or(0));
    biscuit_auth::builder::date(&(UNIX_EPOCH + since_epoch))
}

fn malformed(why: impl std::fmt::Display) -> TokenError {
    TokenError::Malformed(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_secs(1_800_000_000);

    fn grant(text: &str) -> Grant {
        text.parse().unwrap()
    }

    fn host() -> KeyPair {
        root_key(&[7; 32]).unwrap()
    }

    fn token(grants: &[&str]) -> String {
        let grants: Vec<Grant> = grants.iter().map(|text| grant(text)).collect();
        let limits = Restriction { expires_at: Some(NOW.after(Duration::from_secs(3600))), ..Restriction::default() };
        mint(&host(), &[9; 32], &grants, &limits).unwrap().0
    }

    fn try_at(token: &str, operation: &str, uid: u32, now: Moment) -> Result<Vec<String>, TokenError> {
        authorize(token, host().public(), &Presented { operation: &grant(operation), uid, now }, |_| false)
    }

    #[test]
    fn a_token_allows_what_it_names_and_nothing_else() {
        let token = token(&["cert rotate web", "secret read *"]);
        assert!(try_at(&token, "cert rotate web", 5, NOW).is_ok());
        assert!(try_at(&token, "secret read anything", 5, NOW).is_ok());
        for other in ["cert rotate db", "cert issue web", "cert revoke web"] {
            assert!(matches!(try_at(&token, other, 5, NOW), Err(TokenError::Refused { .. })), "{other}");
        }
    }

    #[test]
    fn a_token_ends() {
        let token = token(&["cert rotate web"]);
        assert!(try_at(&token, "cert rotate web", 5, NOW.after(Duration::from_secs(3599))).is_ok());
        assert!(try_at(&token, "cert rotate web", 5, NOW.after(Duration::from_secs(3600))).is_err());
    }

    #[test]
    fn an_attenuated_token_is_narrower_and_needs_no_key() {
        let wide = token(&["cert rotate *", "cert issue *"]);
        let only = vec![grant("cert rotate web"), grant("cert rotate db")];
        let end = Some(NOW.after(Duration::from_secs(60)));
        let narrow = attenuate(&wide, &[3; 32], &Restriction { only, expires_at: end, uid: Some(1000) }).unwrap();
        assert!(try_at(&narrow, "cert rotate web", 1000, NOW).is_ok());
        assert!(try_at(&narrow, "cert rotate db", 1000, NOW).is_ok());
        assert!(try_at(&narrow, "cert rotate mail", 1000, NOW).is_err());
        assert!(try_at(&narrow, "cert issue web", 1000, NOW).is_err());
        assert!(try_at(&narrow, "cert rotate web", 1001, NOW).is_err());
        assert!(try_at(&narrow, "cert rotate web", 1000, NOW.after(Duration::from_secs(61))).is_err());
    }

    #[test]
    fn an_appended_block_cannot_grant() {
        let narrow = token(&["cert rotate web"]);
        let block = BlockBuilder::new().fact(fact!(r#"right("cert", "issue", "web")"#)).unwrap();
        let forged = UnverifiedBiscuit::from_base64(&narrow).unwrap().append(block).unwrap().to_base64().unwrap();
        assert!(matches!(try_at(&forged, "cert issue web", 5, NOW), Err(TokenError::Refused { .. })));
    }

    #[test]
    fn a_token_of_another_host_is_refused() {
        let (foreign, _) =
            mint(&root_key(&[8; 32]).unwrap(), &[9; 32], &[grant("cert rotate web")], &Restriction::default()).unwrap();
        assert_eq!(try_at(&foreign, "cert rotate web", 5, NOW), Err(TokenError::NotOurs));
    }

    #[test]
    fn revoking_a_token_revokes_what_was_attenuated_from_it() {
        let limits = Restriction::default();
        let (wide, revocation_id) = mint(&host(), &[9; 32], &[grant("cert rotate web")], &limits).unwrap();
        let narrow = attenuate(&wide, &[3; 32], &Restriction { uid: Some(5), ..limits }).unwrap();
        let presented = Presented { operation: &grant("cert rotate web"), uid: 5, now: NOW };
        for token in [&wide, &narrow] {
            assert_eq!(authorize(token, host().public(), &presented, |id| id == revocation_id), Err(TokenError::Revoked));
        }
    }

    #[test]
    fn garbage_and_oversized_tokens_are_refused_before_they_are_run() {
        for bad in ["", "%%%", &"A".repeat(MAX_TOKEN_BYTES + 1)] {
            assert!(matches!(try_at(bad, "cert rotate web", 5, NOW), Err(TokenError::Malformed(_))));
        }
    }

    #[test]
    fn a_grant_that_is_no_operation_is_refused_with_the_list_of_those_that_are() {
        for bad in ["", "cert", "cert rotate", "cert rotate web now", "cert fly web", "secret read ../x"] {
            assert!(bad.parse::<Grant>().unwrap_err().to_string().contains("secret read NAME"), "{bad:?}");
        }
    }
}
