//! A revoked certificate that the agent keeps is replaced at once, and for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::audit::Actor;

use super::lists;
use super::rotation::{self, RotationError};
use super::settle::Telling;
use crate::keeper::Keeper;

/// Between attempts.
const RETRY: Duration = Duration::from_secs(30);

/// Replaces what the agent keeps and was revoked just before it ended.
pub async fn resume(keeper: Arc<Keeper>) {
    replace_revoked(&keeper).await;
}

/// Replaces what the agent keeps and is revoked; goes on trying until that is done.
pub async fn replace_revoked(keeper: &Arc<Keeper>) {
    if replace_once(keeper).await {
        return;
    }
    let keeper = Arc::clone(keeper);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(RETRY).await;
            if replace_once(&keeper).await {
                return;
            }
        }
    });
}

async fn replace_once(keeper: &Arc<Keeper>) -> bool {
    let revoked = match lists::revoked(keeper).await {
        Ok(revoked) => revoked,
        Err(error) => {
            keeper.alarms.raise("store", error.to_string());
            return false;
        }
    };
    let issuers = keeper.issuers();
    let ended = |name: &str| issuers.stored.record.intermediates.iter().any(|known| known.revoked && known.fingerprint == name);
    let mut all = true;
    for generation in keeper.store.all() {
        if !revoked.contains(&generation.serial) && !ended(&generation.issuer) {
            continue;
        }
        let name = &generation.identity;
        match rotation::rotate(keeper, name, Actor::Agent, Telling::Later).await {
            // One that is no longer declared is not kept either.
            Ok(_) | Err(RotationError::Unknown(_)) => {}
            Err(error) => {
                all = false;
                let message = format!("its revoked certificate could not be replaced: {error}; the agent goes on trying");
                keeper.alarms.raise(format!("identity {name}"), message);
            }
        }
    }
    all
}
