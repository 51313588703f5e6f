//! What the role works from: made anew when the configuration, a generation or trust changes.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use reverie_core::audit::Actor;
use reverie_core::ipc::tunnel::{Situation, Tunnel};

use super::callers;
use crate::keeper::Keeper;
use crate::keeper::identity::rotation;

/// So long further changes are waited for.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// What failed is tried again, and what was replaced is let go.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Has the situation follow. Never ends.
pub(super) async fn follow(keeper: Arc<Keeper>) {
    let (mut policies, mut trust, mut generations) = (keeper.watch_policy(), keeper.watch_issuers(), keeper.store.watch());
    loop {
        policies.mark_unchanged();
        trust.mark_unchanged();
        generations = generations.resubscribe();
        if !keeper.policy().config.tunnels.is_empty() || !keeper.tunnels.situation.borrow().tunnels.is_empty() {
            callers::follow(&keeper);
            renew(&keeper).await;
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

async fn renew(keeper: &Arc<Keeper>) {
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
    let mut tunnels = vec![];
    for tunnel in declared {
        let shown = match rotation::current_or_new(keeper, &tunnel.identity, Actor::Agent).await {
            Ok(generation) => keeper.tunnels.keys.lock().unwrap_or_else(PoisonError::into_inner).show(&generation),
            // An alarm about the identity says why.
            Err(error) => {
                tracing::warn!(tunnel = %tunnel.name, %error, "a tunnel has no certificate to show");
                None
            }
        };
        tunnels.push(Tunnel { declared: tunnel.clone(), shown });
    }
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
