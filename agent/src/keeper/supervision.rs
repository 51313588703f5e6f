//! systemd and the process itself: readiness, watchdog, signals, hardening.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reverie_core::clock::ClockWatch;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::local::denials;
use super::state::{Change, Table, Write};
use super::{Keeper, RECORDING, clock, configuring};
use crate::ops::{confinement, logging};

/// How long the store may take to answer the watchdog's question.
const STORE_DEADLINE: Duration = Duration::from_secs(5);

/// Subject of the alarm about settings that wait.
const SETTINGS: &str = "settings";

/// What became of [`harden`].
#[derive(Debug, Default)]
pub struct Hardening {
    /// Keys are never swapped out.
    pub memory_locked: bool,
    failures: Vec<(&'static str, std::io::Error)>,
}

/// No core dumps, no debugger, no new privileges, many descriptors, and keys that are never swapped out where the limit
/// allows it. To be called before there is any other thread: privileges are given up by each for itself.
pub(super) fn harden() -> Hardening {
    let dumps = reverie_sys::process::set_nondumpable().err().map(|error| ("core dumps", error));
    let privileges = reverie_sys::process::set_no_new_privs().err().map(|error| ("new privileges", error));
    let calls = confinement::give_up_system_calls().err().map(|error| ("system calls", error));
    let files = reverie_sys::process::raise_nofile_limit().err().map(|error| ("open files", error));
    let memory_locked = reverie_sys::process::lock_memory().unwrap_or(false);
    Hardening { memory_locked, failures: [dumps, privileges, calls, files].into_iter().flatten().collect() }
}

impl Hardening {
    /// Says what failed, once there is a log.
    pub fn report(&self) {
        for (what, error) in &self.failures {
            tracing::warn!(what, %error, "the process could not be hardened");
        }
    }
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
        let look = tokio::task::spawn_blocking(move || state.get(Table::Meta, "watchdog"));
        if watchdog.is_some() && returned_in_time(look, STORE_DEADLINE).await {
            notify(&[NotifyState::Watchdog]);
        }
        // Nobody else may try: a load balancer keeps away from one that is not ready.
        if keeper.alarms.stands(RECORDING) {
            let probe = Write::Put { table: Table::Meta, key: "probe".to_owned(), value: vec![].into() };
            let _ = tokio::time::timeout(STORE_DEADLINE, keeper.commit(Change { writes: vec![probe], events: vec![] })).await;
        }
        keeper.rates.forget_quiet();
        keeper.pins.forget_old();
        // Apart: a store that takes its time must not keep the watchdog hungry.
        tokio::spawn(denials::summarise_now_and_then(Arc::clone(&keeper)));
        let standing = keeper.state.alarms();
        let subjects: Vec<String> = standing.iter().map(|alarm| alarm.subject.clone()).collect();
        keeper.alarms.clear_except("store", &subjects);
        keeper.alarms.clear_except("audit", &subjects);
        standing.into_iter().for_each(|alarm| keeper.alarms.raise(alarm.subject, alarm.message));
    }
}

/// Has the log's level follow the configuration, and says what of a new one waits for a restart. Never ends.
pub async fn follow_settings(keeper: Arc<Keeper>) {
    let (at_start, mut policies) = (keeper.policy(), keeper.watch_policy());
    while policies.changed().await.is_ok() {
        let policy = keeper.policy();
        logging::set_level(&policy.config.log.level);
        match &*at_start.config.awaiting_restart(&policy.config) {
            [] => keeper.alarms.clear(SETTINGS),
            keys => {
                let keys = keys.join(", ");
                let message = format!("{keys}: changed in the file, takes effect at a restart: systemctl restart reverie-agent");
                keeper.alarms.raise(SETTINGS, message);
            }
        }
    }
}

/// An error is an answer too: a restart mends no disk, and ends what still works without it.
async fn returned_in_time<T>(look: tokio::task::JoinHandle<T>, deadline: Duration) -> bool {
    matches!(tokio::time::timeout(deadline, look).await, Ok(Ok(_)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_fails_feeds_the_watchdog_and_one_that_hangs_does_not() {
        let deadline = Duration::from_millis(200);
        assert!(returned_in_time(tokio::spawn(async { Err::<(), _>("read-only file system") }), deadline).await);
        assert!(!returned_in_time(tokio::spawn(std::future::pending::<Result<(), ()>>()), deadline).await);
        assert!(!returned_in_time(tokio::spawn(async { panic!("on purpose") }), deadline).await);
    }
}
