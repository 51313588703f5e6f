//! WIT-SVIDs, each with a key of its own (the draft profile of the Workload API).

use std::sync::Arc;
use std::time::Duration;

use reverie_core::api::{Code, Problem};
use reverie_core::audit::Actor;
use reverie_core::id::SpiffeId;
use reverie_core::jwt::jwk;
use reverie_core::mesh::crypto::Signer;
use reverie_core::moment::Moment;
use reverie_crypto::aws::SigningKey;
use reverie_proto::workload::{Witsvid, WitsvidResponse};
use tokio::time::Instant;

use super::super::feed::State;
use super::super::holdings;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;
use crate::keeper::{Keeper, clock, svid};

/// All identities of the caller, signed anew at half the life of the tokens.
#[derive(Default)]
pub(super) struct Svids {
    said: Vec<(SpiffeId, Option<String>)>,
    until: Option<Instant>,
    /// By the clock that the tokens go by: it goes on while the machine sleeps.
    half_life: Moment,
}

impl State for Svids {
    type Message = WitsvidResponse;

    async fn now(&mut self, keeper: &Arc<Keeper>, peer: &Peer) -> Result<Option<WitsvidResponse>, Failure> {
        let identities = holdings::identities(keeper, peer).await?;
        let said: Vec<_> = identities.iter().map(|identity| (identity.spiffe_id.clone(), identity.hint.clone())).collect();
        let is_fresh = self.until.is_some_and(|until| until > Instant::now()) && self.half_life > clock::now();
        if said == self.said && is_fresh {
            return Ok(None);
        }
        let (mut svids, mut life) = (Vec::with_capacity(identities.len()), Duration::MAX);
        for identity in &identities {
            let signed = svid::wit_svid(keeper, identity, Actor::from(&peer.caller)).await?;
            life = life.min(signed.svid.expires_at.since(clock::now()));
            svids.push(Witsvid {
                spiffe_id: signed.svid.spiffe_id.to_string(),
                wit_svid: signed.svid.token.as_str().to_owned(),
                wit_svid_key: private_jwk(&signed.key)?,
                hint: identity.hint.clone().unwrap_or_default(),
            });
        }
        // What took its time may have taken an identity away.
        if holdings::identities(keeper, peer).await? != identities {
            return Err(Problem::new(Code::Unavailable, "what this process may have changed meanwhile")
                .advise("ask again")
                .into());
        }
        // Never over and over, whatever the clock does.
        let fresh = (life / 2).clamp(Duration::from_secs(10), Duration::from_secs(3600));
        (self.said, self.until, self.half_life) = (said, Some(Instant::now() + fresh), clock::now().after(fresh));
        Ok(Some(WitsvidResponse { svids }))
    }

    fn due_at(&self) -> Option<Instant> {
        self.until
    }
}

/// RFC 7518 §6.2.2.
fn private_jwk(pkcs8: &[u8]) -> Result<String, Failure> {
    let unreadable = || Problem::new(Code::Internal, "the key of a token could not be written as a JWK");
    let key = SigningKey::from_pkcs8_der(pkcs8).map_err(|_| unreadable())?;
    let mut written = jwk(key.public_key());
    let secret = key.secret().map_err(|_| unreadable())?;
    if let Some(fields) = written.as_object_mut() {
        fields.insert("d".to_owned(), data_encoding::BASE64URL_NOPAD.encode(&*secret).into());
    }
    Ok(written.to_string())
}
