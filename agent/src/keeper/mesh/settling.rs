//! After a start, nothing is written before another host was heard, or for a few seconds: a restored host that writes at once
//! replaces what it lost.

use std::time::Duration;

use reverie_core::mesh::view::View;
use tokio::sync::watch;
use tokio::time::Instant;

/// For so long after the start. Others show a restored host what it lost also later, if they still can.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the start is over.
pub(super) struct Settled {
    over: watch::Sender<bool>,
    until: Instant,
}

impl Settled {
    /// It is at once where there is nobody to hear.
    pub(super) fn at_start(view: Option<&View<'_>>) -> Self {
        let others = view.map_or(0, |view| view.members().hosts().values().filter(|host| host.standing.is_some()).count());
        Self { over: watch::channel(others <= 1).0, until: Instant::now() + PATIENCE }
    }

    /// Another host was heard, and knows of nothing of ours that we do not.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Until it is over.
    pub(super) async fn wait(&self) {
        let mut over = self.over.subscribe();
        if tokio::time::timeout_at(self.until, over.wait_for(|over| *over)).await.is_err() && !self.over.send_replace(true) {
            tracing::warn!("no other host was heard since the start: whether this host was restored is not known yet");
        }
    }
}
