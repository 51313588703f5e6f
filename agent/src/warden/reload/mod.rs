//! How a service is told to read its files again. Each way has a deadline, and says what the service answered.

mod command;
mod program;
mod redis;
mod signal;
mod unit;

#[cfg(test)]
mod tests;

use std::time::Duration;

use reverie_core::ipc::warden::Reload;

use super::Options;
use super::failure::Failure;

/// redis answers at once or not at all.
const REDIS_DEADLINE: Duration = Duration::from_secs(5);

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Reloaded,
    NotRunning,
}

/// Reloads; blocks until it is done or its deadline has passed.
pub(super) fn reload(reload: &Reload, options: &Options) -> Result<Told, Failure> {
    let told = match reload {
        Reload::Unit { unit, user_manager } => return unit::reload(unit, *user_manager, options),
        Reload::Signal { signal, pidfile, unit, uid } => signal::send(*signal, pidfile, unit.as_deref(), *uid),
        Reload::Command { argv } => command::run(argv, options.reload_deadline),
        Reload::Redis { socket, directory } => redis::reload(socket, directory, REDIS_DEADLINE.min(options.reload_deadline)),
    };
    told.map(|()| Told::Reloaded)
}
