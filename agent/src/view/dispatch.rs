//! Is the thread that reads requests well? systemd starts anew a view that hangs.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::files::State;

/// No request takes the thread so long: what must be waited for is waited for elsewhere.
const HANGS_AFTER: Duration = Duration::from_secs(5);

/// When the request in hand was begun, in milliseconds since the start and one; 0 while it waits for one.
#[derive(Debug)]
pub struct Dispatch {
    start: Instant,
    since: AtomicU64,
}

impl Default for Dispatch {
    fn default() -> Self {
        Self { start: Instant::now(), since: AtomicU64::new(0) }
    }
}

/// A request is in hand until this is dropped.
pub struct Busy<'a>(&'a Dispatch);

impl Dispatch {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// A request is taken in hand.
    pub fn begin(&self) -> Busy<'_> {
        self.since.store(self.now(), Ordering::Relaxed);
        Busy(self)
    }

    fn hangs(&self) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        since != 0 && self.now().saturating_sub(since) > HANGS_AFTER.as_millis() as u64
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::Relaxed);
    }
}

/// systemd's watchdog, if the unit has one. Connected beforehand: the role makes no socket later.
#[derive(Debug)]
pub struct Watchdog {
    systemd: UnixDatagram,
    every: Duration,
}

impl Watchdog {
    /// As the environment says.
    pub fn connect() -> io::Result<Option<Self>> {
        let (Some(period), Some(path)) = (sd_notify::watchdog_enabled(), std::env::var_os("NOTIFY_SOCKET")) else {
            return Ok(None);
        };
        let systemd = UnixDatagram::unbound()?;
        systemd.connect(path)?;
        systemd.set_nonblocking(true)?;
        Ok(Some(Self { systemd, every: period / 3 }))
    }

    /// Says that all is well for as long as it is. In the runtime that waits for the keeper, so that it is well, too.
    pub async fn feed(self, state: Arc<State>) {
        loop {
            if !state.dispatch.hangs()
                && let Err(error) = self.systemd.send(b"WATCHDOG=1")
            {
                tracing::warn!(%error, "systemd's watchdog does not hear of the view");
            }
            tokio::time::sleep(self.every).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_in_hand_for_long_is_a_hang_and_an_idle_thread_is_none() {
        let Some(start) = Instant::now().checked_sub(HANGS_AFTER * 2) else { return };
        let dispatch = Dispatch { start, since: AtomicU64::new(0) };
        assert!(!dispatch.hangs(), "it waits");
        let busy = dispatch.begin();
        assert!(!dispatch.hangs(), "just begun");
        dispatch.since.store(1, Ordering::Relaxed);
        assert!(dispatch.hangs());
        drop(busy);
        assert!(!dispatch.hangs());
    }
}
