//! Validation of a JWT-SVID on behalf of a caller.

use std::str::FromStr;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reverie_core::ca;
use reverie_core::id::SpiffeId;
use reverie_core::jwt::{Audience, Header, Purpose, Rejected, header, judge};
use reverie_core::mesh::crypto::{Kid, SigningPublicKey};
use serde_json::{Map, Value};

use super::trust::{Trusted, trusted};
use crate::keeper::{Keeper, clock};

/// Whose token it is, and all that it says, if it counts here and now for `audience`.
pub fn validate(keeper: &Keeper, token: &str, audience: &Audience) -> Judged {
    let header = header(token)?;
    let algorithm = Algorithm::from_str(&header.alg).map_err(|_| Rejected::Algorithm)?;
    match claimed_domain(token)? {
        Some(domain) if domain != keeper.host.trust_domain.as_str() => {
            validate_foreign(keeper, token, &header, algorithm, &domain, audience)
        }
        _ => validate_own(keeper, token, &header, algorithm, audience),
    }
}

type Judged = Result<(SpiffeId, Map<String, Value>), Rejected>;

/// Which bundle may vouch for it, by its own word: nothing else is taken from what is not verified yet.
fn claimed_domain(token: &str) -> Result<Option<String>, Rejected> {
    let claims: Map<String, Value> = jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| Rejected::Form)?;
    let subject = claims.get("sub").and_then(Value::as_str).and_then(|subject| subject.parse::<SpiffeId>().ok());
    Ok(subject.map(|subject| subject.trust_domain().to_owned()))
}

fn validate_foreign(
    keeper: &Keeper,
    token: &str,
    header: &Header,
    algorithm: Algorithm,
    domain: &str,
    audience: &Audience,
) -> Judged {
    let bundles = keeper.federations.bundles();
    let bundle = bundles.iter().find(|(known, _)| known.as_str() == domain).map(|(_, bundle)| bundle).ok_or(Rejected::Key)?;
    let key = bundle.jwt_keys.iter().find(|key| key.get("kid").and_then(Value::as_str) == Some(header.kid.as_str()));
    let key: Jwk = serde_json::from_value(key.ok_or(Rejected::Key)?.clone()).map_err(|_| Rejected::Key)?;
    let claims = verify(token, &DecodingKey::from_jwk(&key).map_err(|_| Rejected::Key)?, algorithm)?;
    Ok((judge(&claims, domain, audience, clock::now())?, claims))
}

fn validate_own(keeper: &Keeper, token: &str, header: &Header, algorithm: Algorithm, audience: &Audience) -> Judged {
    let kid = data_encoding::HEXLOWER.decode(header.kid.as_bytes()).ok();
    let kid = kid.and_then(|kid| kid.as_slice().try_into().ok().map(Kid)).ok_or(Rejected::Key)?;
    let known = trusted(keeper, Purpose::JwtSvid).remove(&kid).ok_or(Rejected::Key)?;
    if algorithm != Algorithm::ES256 {
        return Err(Rejected::Algorithm);
    }
    let claims = verify(token, &decoding_key(&known.public_key)?, algorithm)?;
    let domain = keeper.host.trust_domain.as_str();
    let subject = judge(&claims, domain, audience, clock::now())?;
    may_issue(keeper, &known, &subject)?;
    Ok((subject, claims))
}

fn decoding_key(key: &SigningPublicKey) -> Result<DecodingKey, Rejected> {
    let (x, y) = key.0[1..].split_at(32);
    let text = |half: &[u8]| data_encoding::BASE64URL_NOPAD.encode(half);
    DecodingKey::from_ec_components(&text(x), &text(y)).map_err(|_| Rejected::Key)
}

/// The signature alone: what the claims mean is judged by our clock and our rules.
fn verify(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Map<String, Value>, Rejected> {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
    jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation).map(|data| data.claims).map_err(|_| Rejected::Signature)
}

/// A host's key speaks for what that host may issue: a certificate cannot say so of SPIFFE IDs, our verifier can.
fn may_issue(keeper: &Keeper, known: &Trusted, subject: &SpiffeId) -> Result<(), Rejected> {
    let issuers = keeper.issuers();
    let may = |node| match issuers.mesh.limits.get(node) {
        Some(limits) => ca::check(limits, node, subject, &[], &[]).is_ok(),
        None => true,
    };
    match known.nodes.is_empty() || known.nodes.iter().any(may) {
        true => Ok(()),
        false => Err(Rejected::Subject),
    }
}
