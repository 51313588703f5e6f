//! What the role works from: made anew when the configuration, a generation or trust changes.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use reverie_core::audit::Actor;
use reverie_core::config;
use reverie_core::id::IdentityName;
use reverie_core::ipc::tunnel::{Shown, Situation, Tunnel};

use super::callers;
use crate::keeper::Keeper;
use crate::keeper::identity::rotation;
use crate::ops::shares::Shares;

/// So long further changes are waited for.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// What failed is tried again, and what was replaced is let go.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Has the situation follow. Never ends.
pub(super) async fn follow(keeper: Arc<Keeper>) {
    let (mut policies, mut trust, mut generations) = (keeper.watch_policy(), keeper.watch_issuers(), keeper.store.watch());
    let making = Arc::default();
    loop {
        policies.mark_unchanged();
        trust.mark_unchanged();
        generations = generations.resubscribe();
        if !keeper.policy().config.tunnels.is_empty() || !keeper.tunnels.situation.borrow().tunnels.is_empty() {
            callers::follow(&keeper);
            renew(&keeper, &making);
        }
        tokio::select! {
            changed = policies.changed() => if changed.is_err() { return },
            changed = trust.changed() => if changed.is_err() { return },
            // Whoever falls behind looks at what is current.
            _ = generations.recv() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tokio::time::sleep(DEBOUNCE).await;
    }
}

/// From what is there, at once: trust, which may put somebody out, waits for nothing.
fn renew(keeper: &Arc<Keeper>, making: &Arc<Shares<IdentityName>>) {
    let policy = keeper.policy();
    let declared = &policy.config.tunnels;
    let trust = {
        let mut trust = keeper.tunnels.trust.lock().unwrap_or_else(PoisonError::into_inner);
        trust.follow(&keeper.issuers(), &keeper.host.node_id);
        let wanted: Vec<_> = declared.iter().map(|tunnel| tunnel.identity.clone()).collect();
        let mut keys = keeper.tunnels.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.keep(&wanted, |generation| trust.is_revoked(&generation.issuer, &generation.serial.to_string()));
        trust.number
    };
    let tunnel = |declared: &config::Tunnel| {
        let shown = show(keeper, &declared.identity);
        if shown.is_none() {
            make(keeper, &declared.identity, making);
        }
        Tunnel { declared: declared.clone(), shown }
    };
    let tunnels = declared.iter().map(tunnel).collect();
    let log_level = policy.config.log.level.clone();
    keeper.tunnels.situation.send_if_modified(|current| {
        let next = Situation { number: current.number, log_level, trust, tunnels };
        if **current == next {
            return false;
        }
        *current = Arc::new(Situation { number: next.number + 1, ..next });
        true
    });
}

fn show(keeper: &Keeper, identity: &IdentityName) -> Option<Shown> {
    let current = keeper.store.current(identity).filter(|current| rotation::is_usable_as_declared(keeper, current))?;
    keeper.tunnels.keys.lock().unwrap_or_else(PoisonError::into_inner).show(&current)
}

/// Makes what is to be shown, beside everything else. That it is there is seen in the store.
fn make(keeper: &Arc<Keeper>, identity: &IdentityName, making: &Arc<Shares<IdentityName>>) {
    let Some(once) = making.take(identity.clone(), 1, u32::MAX, 1) else { return };
    let (keeper, identity) = (Arc::clone(keeper), identity.clone());
    tokio::spawn(async move {
        // An alarm about the identity says why.
        if let Err(error) = rotation::current_or_new(&keeper, &identity, Actor::Agent).await {
            tracing::warn!(%identity, %error, "tunnels have no certificate of this identity to show");
        }
        drop(once);
    });
}
