//! What net asks of the keeper, with a deadline for each.

use std::os::fd::OwnedFd;
use std::time::Duration;

use reverie_core::ipc::net::{Reply, Request, Situation};

use crate::ops::channel::{Channel, ChannelError};

/// Never more waiters for clients than this, whatever is configured: each is a call on its way.
pub const MAX_WAITERS: u32 = 1024;
/// Calls on their way at once, so that there is room beside waiters.
const AT_ONCE: usize = 2048;

/// The keeper answers [`Request::Watch`] after 25 s at the latest.
const WATCH: Duration = Duration::from_secs(40);

/// The keeper, at the other end of the channel.
#[derive(Debug)]
pub struct Keeper {
    channel: Channel<Request, Reply>,
}

impl Keeper {
    /// Greets it.
    pub async fn connect(socket: OwnedFd) -> Result<Self, ChannelError> {
        Ok(Self { channel: Channel::connect_as(socket, "net", "keeper", AT_ONCE).await? })
    }

    /// Asks, and waits for the answer until `within` has passed.
    pub async fn ask(&self, request: &Request, within: Duration) -> Result<Reply, ChannelError> {
        self.channel.call(request, None, within).await
    }

    /// The situation, once it is another than number `seen`; `None` if it stayed the same for a while.
    pub async fn watch(&self, seen: u64) -> Result<Option<Box<Situation>>, ChannelError> {
        match self.ask(&Request::Watch { seen }, WATCH).await {
            Ok(Reply::Situation(situation)) => Ok(situation),
            Ok(other) => {
                tracing::warn!(?other, "the keeper answered something else than the situation");
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(None)
            }
            // It may be busy with a large merge. A channel that is gone is another matter.
            Err(ChannelError::Deadline { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
