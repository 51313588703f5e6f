//! Takes certificates that ended out of the register.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::moment::Moment;

use crate::keeper::state::PRUNED_AT_ONCE;
use crate::keeper::{Keeper, clock};

/// How long a certificate that ended stays in the register: as long as a machine may have been off and its clock is trusted
/// all the same.
const KEPT_AFTER_END: Duration = SHORT_ABSENCE;
/// Between looks for certificates to take out.
const PAUSE: Duration = Duration::from_secs(60);
/// Between two batches, so that others get at the store: still more than can be issued in that time.
const BREATH: Duration = Duration::from_millis(10);
/// A machine that was off for longer may have come back with a wrong clock.
const SHORT_ABSENCE: Duration = Duration::from_secs(48 * 3600);
/// By then a wrong clock has been set right, and its jump was seen.
const TRUSTED_AFTER: Duration = Duration::from_secs(3600);

/// For as long as the agent runs.
pub async fn run(keeper: Arc<Keeper>) {
    let (begun, last_seen) = (clock::since_boot(), keeper.state.last_signed_at());
    loop {
        let now = clock::now();
        let pause = match is_clock_trusted(&keeper, now, last_seen, clock::since_boot().saturating_sub(begun)) {
            true => prune(&keeper, now).await,
            false => PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

/// What is taken out cannot be revoked any more: not by a clock that runs ahead. That it was revoked is never forgotten.
fn is_clock_trusted(keeper: &Keeper, now: Moment, last_seen: Option<Moment>, running: Duration) -> bool {
    let was_here = last_seen.is_none_or(|at| now.since(at) < SHORT_ABSENCE + running);
    (was_here || running >= TRUSTED_AFTER) && !keeper.alarms.stands(clock::SUBJECT)
}

async fn prune(keeper: &Keeper, now: Moment) -> Duration {
    match keeper.state.prune_issued(now.before(KEPT_AFTER_END)).await {
        Ok(PRUNED_AT_ONCE) => BREATH,
        Ok(_) => PAUSE,
        // The store says itself what is wrong with it.
        Err(error) => {
            tracing::debug!(%error, "the register of certificates was not pruned");
            PAUSE
        }
    }
}
