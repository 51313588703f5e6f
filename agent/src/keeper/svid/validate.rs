//! Validation of a JWT-SVID on behalf of a caller.

use std::str::FromStr;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reverie_core::ca;
use reverie_core::id::SpiffeId;
use reverie_core::jwt::{Audience, Purpose, Rejected, header, judge};
use reverie_core::mesh::crypto::{Kid, SigningPublicKey};
use serde_json::{Map, Value};

use super::trust::{Trusted, trusted};
use crate::keeper::{Keeper, clock};

/// Whose token it is, and all that it says, if it counts here and now for `audience`.
pub fn validate(keeper: &Keeper, token: &str, audience: &Audience) -> Result<(SpiffeId, Map<String, Value>), Rejected> {
    let header = header(token)?;
    let kid = data_encoding::HEXLOWER.decode(header.kid.as_bytes()).ok();
    let kid = kid.and_then(|kid| kid.as_slice().try_into().ok().map(Kid)).ok_or(Rejected::Key)?;
    let known = trusted(keeper, Purpose::JwtSvid).remove(&kid).ok_or(Rejected::Key)?;
    let algorithm = Algorithm::from_str(&header.alg).map_err(|_| Rejected::Algorithm)?;
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
