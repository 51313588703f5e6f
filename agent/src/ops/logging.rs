//! The log: to the journal when systemd reads our standard error, else to standard error.
//!
//! Levels: `error` the agent cannot do its work; `warn` an operator should look; `info` start, stop, rotation;
//! `debug` names of callers and identities; `trace` everything. Keys and secrets at none of them.

use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// To set another level while the agent runs.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging. `REVERIE_LOG` overrides `level`; a directive that cannot be read falls back to `info`.
pub fn start(level: &str) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let result = match std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok()) {
        Some(journal) => registry.with(journal.with_syslog_identifier("reverie-agent".to_owned())).try_init(),
        None => registry
            .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false))
            .try_init(),
    };
    // Already started, in a test: the first one stays.
    if result.is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Logs at another level from now on, by the same rules.
pub fn set_level(level: &str) {
    if let Some(handle) = FILTER.get()
        && let Err(error) = handle.reload(filter(level))
    {
        tracing::warn!(%error, "the level of the log could not be changed");
    }
}

fn filter(level: &str) -> EnvFilter {
    let wanted = std::env::var("REVERIE_LOG").unwrap_or_else(|_| level.to_owned());
    EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new("info"))
}
