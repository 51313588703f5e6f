//! systemd and the process itself: readiness, watchdog, signals, hardening.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reverie_core::clock::ClockWatch;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::state::{PRUNED_AT_ONCE, Table};
use super::{Keeper, clock, configuring};

/// How long a certificate that ended stays in the register. A clock that was set to local time instead of UTC is wrong by
/// less.
const KEPT_AFTER_END: Duration = Duration::from_secs(24 * 3600);
/// Between looks for certificates to take out of the register.
const PRUNE_PAUSE: Duration = Duration::from_secs(60);
/// Between two batches, so that others get at the store: still more than can be issued in that time.
const PRUNE_BREATH: Duration = Duration::from_millis(10);

/// No core dumps, no debugger, many descriptors, and keys that are never swapped out where the limit allows it.
pub fn harden() -> bool {
    let report = |what: &str, result: std::io::Result<()>| {
        if let Err(error) = result {
            tracing::warn!(what, %error, "the process could not be hardened");
        }
    };
    report("core dumps", reverie_sys::process::set_nondumpable());
    report("new privileges", reverie_sys::process::set_no_new_privs());
    if let Err(error) = reverie_sys::process::raise_nofile_limit() {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    reverie_sys::process::lock_memory().unwrap_or(false)
}

/// What is wrong from the start and stays so.
pub fn raise_standing_alarms(keeper: &Keeper) {
    for (subject, message) in &keeper.policy().findings {
        keeper.alarms.raise(subject, message);
    }
    for alarm in keeper.state.alarms() {
        keeper.alarms.raise(alarm.subject, alarm.message);
    }
}

/// The recorder behind `/metrics`.
pub fn start_metrics() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // A second agent in one process (a test) keeps the first one's.
    let _ = metrics::set_global_recorder(recorder);
    handle
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

/// READY=1, with a line for `systemctl status`.
pub fn notify_ready(keeper: &Keeper) {
    let status = format!("{} identities, sealed by {}", keeper.policy().identities.len(), keeper.seal.mode);
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// RELOADING=1.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// STOPPING=1.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// How often unknown users and groups are asked for again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);

/// Small things that must happen now and then: the watchdog, the clock, unknown names, the limiter's table, the store's
/// alarms.
pub async fn housekeeping(keeper: Arc<Keeper>) {
    let watchdog = sd_notify::watchdog_enabled().map(|period| period / 3);
    let mut tick = tokio::time::interval(watchdog.unwrap_or(Duration::from_secs(10)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut clock = ClockWatch::new(clock::now(), clock::since_boot());
    let (mut looked_up, mut looking_up) = (Instant::now(), tokio::spawn(std::future::ready(())));
    loop {
        tick.tick().await;
        clock::look(&keeper, &mut clock);
        // Not waited for: a directory may take minutes to fail, and the watchdog would not wait for it.
        if looking_up.is_finished() && looked_up.elapsed() >= LOOK_UP_EVERY {
            looked_up = Instant::now();
            let keeper = Arc::clone(&keeper);
            looking_up = tokio::spawn(async move { configuring::look_up_again(&keeper).await });
        }
        // The watchdog is fed only if the store answers: an agent that hangs is to be restarted.
        let state = keeper.state.clone();
        let look = tokio::task::spawn_blocking(move || state.get(Table::Meta, "watchdog").is_ok());
        let answers = matches!(tokio::time::timeout(Duration::from_secs(5), look).await, Ok(Ok(true)));
        if watchdog.is_some() && answers {
            notify(&[NotifyState::Watchdog]);
        }
        keeper.rates.forget_quiet();
        let standing = keeper.state.alarms();
        let subjects: Vec<String> = standing.iter().map(|alarm| alarm.subject.clone()).collect();
        keeper.alarms.clear_except("store", &subjects);
        keeper.alarms.clear_except("audit", &subjects);
        standing.into_iter().for_each(|alarm| keeper.alarms.raise(alarm.subject, alarm.message));
    }
}

/// Takes certificates that ended long ago out of the register, for as long as the agent runs.
pub async fn prune(keeper: Arc<Keeper>) {
    loop {
        let pause = match keeper.state.prune_issued(clock::now().before(KEPT_AFTER_END)).await {
            Ok(PRUNED_AT_ONCE) => PRUNE_BREATH,
            Ok(_) => PRUNE_PAUSE,
            // The store says itself what is wrong with it.
            Err(error) => {
                tracing::debug!(%error, "the register of certificates was not pruned");
                PRUNE_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// The signals that are obeyed. Made before anyone is told that the agent is there: one that came earlier would end it
/// without order.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they wait for [`Signals::obey`].
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Until SIGTERM or SIGINT; SIGHUP reads the configuration again.
    pub async fn obey(mut self, keeper: &Arc<Keeper>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => configuring::reload(keeper).await,
            }
        }
    }
}
