//! This host's token-signing keys: made ahead, published, forgotten; which and when, the core decides.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::EncodingKey;
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::jwt::{self, KeyRecord, Purpose, Step};
use reverie_core::mesh::crypto::{CryptoFailure, Signer, SigningPublicKey};
use reverie_core::moment::Moment;
use reverie_crypto::KeyError;
use reverie_crypto::aws::SigningKey;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

use crate::keeper::state::{Change, State, StateError, Table, Write};
use crate::keeper::{Keeper, clock, row};

/// Subject of the alarm.
const SUBJECT: &str = "token keys";
/// Keys change over days, and the clock may jump.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why keys are not up to date.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// No key could be made.
    #[error("no token-signing key could be made")]
    Crypto(#[from] CryptoFailure),
    /// One that was stored cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It could not be recorded.
    #[error(transparent)]
    State(#[from] StateError),
    /// It could not be stored.
    #[error(transparent)]
    Row(#[from] row::RowError),
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    record: KeyRecord,
    /// PKCS #8.
    key: Zeroizing<Vec<u8>>,
}

/// A key, ready to sign.
pub struct TokenKey {
    /// Its life.
    pub record: KeyRecord,
    /// Its public half.
    pub public_key: SigningPublicKey,
    pub(super) signs: EncodingKey,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({})", self.record.kid)
    }
}

impl TokenKey {
    fn read(stored: StoredKey) -> Result<Self, KeyError> {
        let public_key = SigningKey::from_pkcs8_der(&stored.key)?.public_key().clone();
        Ok(Self { record: stored.record, public_key, signs: EncodingKey::from_ec_der(&stored.key) })
    }
}

/// All of this host's.
#[derive(Debug)]
pub struct TokenKeys {
    keys: watch::Sender<Arc<Vec<Arc<TokenKey>>>>,
    turn: Mutex<()>,
}

impl TokenKeys {
    /// From the store.
    pub fn open(state: &State) -> Result<Self, TokenKeyError> {
        let mut keys = vec![];
        for (_, stored) in state.scan(Table::TokenKeys)? {
            keys.push(Arc::new(TokenKey::read(row::decode(&stored)?)?));
        }
        Ok(Self { keys: watch::channel(Arc::new(keys)).0, turn: Mutex::default() })
    }

    /// As they are now.
    pub fn current(&self) -> Arc<Vec<Arc<TokenKey>>> {
        Arc::clone(&self.keys.borrow())
    }

    /// Changes from now on.
    pub fn watch(&self) -> watch::Receiver<Arc<Vec<Arc<TokenKey>>>> {
        self.keys.subscribe()
    }

    /// The one that signs now.
    pub fn signing(&self, purpose: Purpose, now: Moment) -> Option<Arc<TokenKey>> {
        let keys = self.current();
        let records: Vec<KeyRecord> = keys.iter().map(|key| key.record.clone()).collect();
        let kid = jwt::signing(&records, purpose, now)?.kid;
        keys.iter().find(|key| key.record.kid == kid).cloned()
    }
}

/// Takes the steps that are due, each durable before it counts.
pub async fn bring_up_to_date(keeper: &Keeper) -> Result<(), TokenKeyError> {
    let _turn = keeper.token_keys.turn.lock().await;
    let keys = keeper.token_keys.current();
    let records: Vec<KeyRecord> = keys.iter().map(|key| key.record.clone()).collect();
    for step in jwt::steps(&records, clock::now()) {
        take(keeper, step).await?;
    }
    Ok(())
}

async fn take(keeper: &Keeper, step: Step) -> Result<(), TokenKeyError> {
    let mut keys = Vec::clone(&keeper.token_keys.current());
    let (write, kid, reason) = match step {
        Step::Make(purpose, signs_from) => {
            let key = SigningKey::generate()?;
            let record = KeyRecord { kid: key.public_key().kid(), purpose, signs_from };
            let stored = StoredKey { record, key: key.to_pkcs8_der()? };
            let (value, kid) = (row::encode(&stored)?, stored.record.kid);
            keys.push(Arc::new(TokenKey::read(stored)?));
            let write = Write::Put { table: Table::TokenKeys, key: kid.to_string(), value };
            (write, kid, format!("made, signs {} from {signs_from} on", purpose.key_use()))
        }
        Step::Forget(kid) => {
            keys.retain(|key| key.record.kid != kid);
            (Write::Delete { table: Table::TokenKeys, key: kid.to_string() }, kid, "forgotten".to_owned())
        }
    };
    let event = Event {
        time: clock::now(),
        kind: Kind::TokenKeyChanged,
        outcome: Outcome::Done,
        actor: Actor::Agent,
        subject: Subject { object: Some(kid.to_string()), ..Subject::default() },
        reason: Some(reason),
    };
    keeper.commit(Change { writes: vec![write], events: vec![event] }).await?;
    keeper.token_keys.keys.send_replace(Arc::new(keys));
    Ok(())
}

/// For as long as the agent runs.
pub async fn run(keeper: Arc<Keeper>) {
    loop {
        match bring_up_to_date(&keeper).await {
            Ok(()) => keeper.alarms.clear(SUBJECT),
            Err(error) => keeper.alarms.raise(SUBJECT, format!("{error}; it is tried again")),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = keeper.stopping.cancelled() => return,
        }
    }
}
