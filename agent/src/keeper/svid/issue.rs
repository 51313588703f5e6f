//! Signing a token for one identity of a caller, who was judged before.

use jsonwebtoken::{Algorithm, Header};
use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::issuing_intermediate;
use reverie_core::config::Identity;
use reverie_core::id::SpiffeId;
use reverie_core::jwt::{Audience, Lifetime, Purpose, SvidClaims, jwk};
use reverie_core::mesh::crypto::Signer;
use reverie_core::moment::Moment;
use reverie_crypto::aws::SigningKey;
use zeroize::Zeroizing;

use crate::keeper::identity::issuance::subject;
use crate::keeper::local::answer::Failure;
use crate::keeper::state::Change;
use crate::keeper::{Keeper, clock};

/// A token that whoever holds it may show.
#[derive(Debug)]
pub struct JwtSvid {
    /// Whose.
    pub spiffe_id: SpiffeId,
    /// Compact form. A secret until it ends.
    pub token: Zeroizing<String>,
    /// When it ends.
    pub expires_at: Moment,
}

/// A token that counts with a proof of its key alone.
#[derive(Debug)]
pub struct WitSvid {
    /// The token.
    pub svid: JwtSvid,
    /// Its key, PKCS #8.
    pub key: Zeroizing<Vec<u8>>,
}

/// A JWT-SVID, recorded before it is given.
pub async fn jwt_svid(keeper: &Keeper, identity: &Identity, audiences: &[Audience], actor: Actor) -> Result<JwtSvid, Failure> {
    let said = audiences.iter().map(Audience::as_str).collect::<Vec<_>>().join(", ");
    let claims = |lifetime, jti: &str| serde_json::to_value(SvidClaims::bearer(&identity.spiffe_id, audiences, lifetime, jti));
    sign(keeper, identity, Purpose::JwtSvid, claims, actor, format!("JWT-SVID for {said}")).await
}

/// A WIT-SVID with a key of its own, recorded before it is given.
pub async fn wit_svid(keeper: &Keeper, identity: &Identity, actor: Actor) -> Result<WitSvid, Failure> {
    let key = SigningKey::generate().map_err(|_| unavailable("no key could be made"))?;
    let mut public = jwk(key.public_key());
    if let Some(fields) = public.as_object_mut() {
        fields.remove("kid");
    }
    let claims = |lifetime, jti: &str| serde_json::to_value(SvidClaims::bound(&identity.spiffe_id, &public, lifetime, jti));
    let svid = sign(keeper, identity, Purpose::WitSvid, claims, actor, "WIT-SVID".to_owned()).await?;
    let key = key.to_pkcs8_der().map_err(|_| unavailable("its key could not be written down"))?;
    Ok(WitSvid { svid, key })
}

fn unavailable(why: &str) -> Failure {
    Problem::new(Code::Unavailable, format!("no token could be signed: {why}"))
        .advise("`agentctl status` shows what is wrong")
        .into()
}

async fn sign(
    keeper: &Keeper,
    identity: &Identity,
    purpose: Purpose,
    claims: impl Fn(Lifetime, &str) -> serde_json::Result<serde_json::Value>,
    actor: Actor,
    reason: String,
) -> Result<JwtSvid, Failure> {
    let (now, issuers) = (clock::now(), keeper.issuers());
    // Who may issue no certificate issues no token: a host that was cut off for long, or limited to other names.
    let issuing = issuing_intermediate(&issuers.stored.record, now);
    let issuing = issuing.ok_or_else(|| unavailable("this host has no intermediate that is in force"))?;
    issuers.check_limits(&issuing.fingerprint, identity).map_err(|error| Problem::new(Code::NotPermitted, error.to_string()))?;
    let key = keeper.token_keys.signing(purpose, now).ok_or_else(|| unavailable("there is no token-signing key yet"))?;
    let ttl = keeper.policy().config.ca.token_ttl.0.min(identity.ttl.0);
    let lifetime = Lifetime::new(now, ttl, issuing.validity.not_after);

    let mut jti = [0; 16];
    aws_lc_rs::rand::fill(&mut jti).map_err(|_| unavailable("no random numbers could be had"))?;
    let jti = data_encoding::BASE64URL_NOPAD.encode(&jti);
    let typ = match purpose {
        Purpose::JwtSvid => "JWT",
        Purpose::WitSvid => "wit+jwt",
    };
    let header = Header { typ: Some(typ.to_owned()), kid: Some(key.record.kid.to_string()), ..Header::new(Algorithm::ES256) };
    let claims = claims(lifetime, &jti).map_err(|error| unavailable(&error.to_string()))?;
    let token = jsonwebtoken::encode(&header, &claims, &key.signs).map_err(|error| unavailable(&error.to_string()))?;

    let event = Event {
        time: now,
        kind: Kind::SvidTokenIssued,
        outcome: Outcome::Done,
        actor,
        subject: Subject { token: Some(jti), ..subject(identity) },
        reason: Some(reason),
    };
    keeper.commit(Change { writes: vec![], events: vec![event] }).await?;
    metrics::counter!("reverie_svid_tokens_total", "kind" => purpose.key_use()).increment(1);
    Ok(JwtSvid { spiffe_id: identity.spiffe_id.clone(), token: Zeroizing::new(token), expires_at: lifetime.expires_at })
}
