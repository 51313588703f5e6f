//! Capability tokens: minted for administrators, honoured on the agent's socket, revoked.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use biscuit_auth::KeyPair;
use reverie_core::api::admin::{Health, MintRequest, Minted, RevokeTokenRequest, TokenKey};
use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Actor, Kind, Outcome, Subject};
use reverie_core::capability::{self, Grant, Presented, Restriction, TokenError};
use zeroize::Zeroizing;

use super::clock;
use super::local::answer::{Answer, Failure, Reply};
use super::local::call::Call;
use super::row::damaged;
use super::state::{Change, State, StateError, Table, Write};

/// The longest life of a token.
const MAX_TTL: Duration = Duration::from_secs(30 * 86_400);
/// The key's row in the table of tokens; no revocation id looks like it.
const KEY_ROW: &str = "root key";

/// The key that signs tokens, and the ones that were revoked.
pub struct Tokens {
    key: KeyPair,
    revoked: RwLock<BTreeSet<String>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// From the store; on a new host the key is made and recorded.
    pub async fn open(state: &State) -> Result<Self, StateError> {
        let secret = match state.get(Table::Tokens, KEY_ROW)? {
            Some(row) => row,
            None => {
                let secret = Zeroizing::new(random_key().map_err(|_| damaged("no random numbers"))?.to_vec());
                let write = Write::Put { table: Table::Tokens, key: KEY_ROW.to_owned(), value: secret.clone() };
                state.commit(Change { writes: vec![write], events: vec![] }).await?;
                secret
            }
        };
        let secret: &[u8; 32] = secret.as_slice().try_into().map_err(|_| damaged("the token key has a wrong length"))?;
        let key = capability::root_key(secret).map_err(|error| damaged(error.to_string()))?;
        let revoked = state.scan(Table::Tokens)?.into_iter().map(|(id, _)| id).filter(|id| id != KEY_ROW).collect();
        Ok(Self { key, revoked: RwLock::new(revoked) })
    }

    fn is_revoked(&self, id: &str) -> bool {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

fn random_key() -> Result<Zeroizing<[u8; 32]>, aws_lc_rs::error::Unspecified> {
    let mut key = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(key.as_mut_slice())?;
    Ok(key)
}

/// Does `token` let this caller do this now? The actor then names the token.
pub fn authorize(call: &Call<'_>, token: &str, grant: &Grant) -> Result<Actor, Failure> {
    let tokens = &call.keeper.tokens;
    let presented = Presented { operation: grant, uid: call.peer.caller.uid, now: clock::now() };
    let ids = capability::authorize(token, tokens.key.public(), &presented, |id| tokens.is_revoked(id)).map_err(refused)?;
    let actor = match call.actor() {
        Actor::Process { pid, uid, gid, exe, unit, pinning, .. } => {
            Actor::Process { pid, uid, gid, exe, unit, pinning, token: ids.last().cloned() }
        }
        Actor::Agent => Actor::Agent,
    };
    Ok(actor)
}

fn refused(error: TokenError) -> Failure {
    let code = match error {
        TokenError::Refused { .. } => Code::NotPermitted,
        _ => Code::BadToken,
    };
    Problem::new(code, error.to_string()).advise("`agentctl token inspect` shows what the token allows and when it ends").into()
}

pub async fn mint(call: &Call<'_>) -> Answer {
    let request: MintRequest = call.json().await?;
    let bad = |detail: String| Failure::from(Problem::new(Code::BadRequest, detail));
    if request.allow.is_empty() || request.allow.len() > 64 {
        return Err(bad("a token allows from 1 to 64 operations".to_owned()));
    }
    let ttl = Duration::from_secs(request.ttl_seconds);
    if ttl.is_zero() || ttl > MAX_TTL {
        return Err(bad("a token lives from 1 second to 30 days".to_owned()));
    }
    let grants: Vec<Grant> = request
        .allow
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()
        .map_err(|error: capability::InvalidGrant| bad(error.to_string()))?;
    let expires_at = clock::now().after(ttl).truncated_to_secs();
    let limits = Restriction { only: vec![], expires_at: Some(expires_at), uid: request.uid };
    let next_key = random_key().map_err(|_| Problem::new(Code::Internal, "no random numbers could be had"))?;
    let (token, revocation_id) = capability::mint(&call.keeper.tokens.key, &next_key, &grants, &limits).map_err(refused)?;
    let mut event =
        call.event(Kind::TokenMinted, Outcome::Done, Subject { token: Some(revocation_id.clone()), ..Subject::default() });
    event.reason = Some(format!("{} until {expires_at}", request.allow.join(", ")));
    call.keeper.commit(Change { writes: vec![], events: vec![event] }).await?;
    Reply::json(&Minted { token, revocation_id, expires_at })
}

pub async fn revoke(call: &Call<'_>) -> Answer {
    let RevokeTokenRequest { revocation_id } = call.json().await?;
    let id = revocation_id.to_ascii_lowercase();
    if id.len() != 128 || data_encoding::HEXLOWER.decode(id.as_bytes()).is_err() {
        return Err(Problem::new(Code::BadRequest, "a revocation id is 128 hexadecimal digits")
            .advise("`agentctl token inspect` prints those of a token")
            .into());
    }
    let event = call.event(Kind::TokenRevoked, Outcome::Done, Subject { token: Some(id.clone()), ..Subject::default() });
    let write = Write::Put { table: Table::Tokens, key: id.clone(), value: Zeroizing::new(vec![1]) };
    call.keeper.commit(Change { writes: vec![write], events: vec![event] }).await?;
    call.keeper.tokens.revoked.write().unwrap_or_else(PoisonError::into_inner).insert(id);
    Reply::json(&Health { ok: true, why: None })
}

pub fn key(call: &Call<'_>) -> Answer {
    Reply::json(&TokenKey { public_key: format!("ed25519/{}", call.keeper.tokens.key.public().to_bytes_hex()) })
}
