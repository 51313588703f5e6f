//! When what a process has may have changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::keeper::Keeper;
use crate::keeper::federation::Bundles;
use crate::keeper::identity::issuers::Issuers;
use crate::keeper::identity::store::Generation;
use crate::keeper::local::peer::Peer;
use crate::keeper::svid::TokenKey;
use crate::ops::policy::Policy;

/// Changes come in bursts: a rotation with a list, many identities at once. So long after the first it is looked.
const SETTLE: Duration = Duration::from_millis(20);
/// Who runs another program by now is not told by any change.
const RECHECK: Duration = Duration::from_secs(60);

/// Rotations, trust, policy, token keys and bundles of other trust domains from now on.
pub(super) struct Changes {
    generations: broadcast::Receiver<Arc<Generation>>,
    issuers: watch::Receiver<Arc<Issuers>>,
    policies: watch::Receiver<Arc<Policy>>,
    token_keys: watch::Receiver<Arc<Vec<Arc<TokenKey>>>>,
    bundles: watch::Receiver<Arc<Bundles>>,
    /// Something has changed that was not looked at.
    due: bool,
    recheck: Instant,
}

impl Changes {
    /// To be called before the present is read, so that nothing falls between.
    pub(super) fn watch(keeper: &Keeper) -> Self {
        Self {
            generations: keeper.store.watch(),
            issuers: keeper.watch_issuers(),
            policies: keeper.watch_policy(),
            token_keys: keeper.token_keys.watch(),
            bundles: keeper.federations.watch(),
            due: false,
            recheck: Instant::now() + RECHECK,
        }
    }

    /// Waits until it is worth to look again. May be dropped and called anew.
    pub(super) async fn next(&mut self, keeper: &Keeper, peer: &Peer) {
        while !self.due {
            self.due = tokio::select! {
                generation = self.generations.recv() => match generation {
                    Ok(generation) => keeper.policy().judge.judge_for(&peer.caller, &generation.identity).is_ok(),
                    Err(RecvError::Lagged(_) | RecvError::Closed) => true,
                },
                _ = self.issuers.changed() => true,
                _ = self.policies.changed() => true,
                _ = self.token_keys.changed() => true,
                _ = self.bundles.changed() => true,
                () = tokio::time::sleep_until(self.recheck) => true,
            };
        }
        tokio::time::sleep(SETTLE).await;
        self.generations = self.generations.resubscribe();
        self.issuers.mark_unchanged();
        self.policies.mark_unchanged();
        self.token_keys.mark_unchanged();
        self.bundles.mark_unchanged();
        self.due = false;
        self.recheck = Instant::now() + RECHECK;
    }
}
