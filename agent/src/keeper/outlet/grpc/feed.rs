//! Streams of the Workload API: the whole state at once, and again whenever it has changed.

use std::sync::Arc;

use futures_util::stream::unfold;
use reverie_core::api::{Code, Problem};
use tokio::time::Instant;
use tonic::Status;
use tonic::codegen::BoxStream;

use super::changes::Changes;
use super::failure::refuse;
use super::room::Room;
use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;

/// Messages as tonic takes them.
pub(super) type Messages<M> = BoxStream<M>;

/// What one stream says.
pub(super) trait State: Send + 'static {
    /// What is sent.
    type Message: Send + 'static;

    /// The whole state as it is now, for this process as it is now; `None` if it is as it was sent. What holds a key is in the
    /// audit log when this returns. The message is made last, after all that takes time: nothing counts it before.
    fn now(&mut self, keeper: &Arc<Keeper>, peer: &Peer) -> impl Future<Output = Result<Option<Self::Message>, Failure>> + Send;

    /// When it changes of itself.
    fn due_at(&self) -> Option<Instant> {
        None
    }
}

/// That state until the caller goes, or is refused. HTTP/2 asks for a message only when the one before was taken, and it is then
/// as new as it can be: a slow reader meets no backlog.
pub(super) fn follow<S: State>(
    keeper: &Arc<Keeper>,
    peer: &Arc<Peer>,
    room: &Arc<Room>,
    call: &'static str,
    state: S,
) -> Messages<S::Message> {
    let feed = Feed {
        changes: Changes::watch(keeper),
        keeper: Arc::clone(keeper),
        peer: Arc::clone(peer),
        room: Arc::clone(room),
        call,
        state,
        begun: false,
        _gauge: OpenStream::new(call),
    };
    Box::pin(unfold(Some(feed), |feed| async {
        let mut feed = feed?;
        match feed.next().await {
            Ok(message) => Some((Ok(message), Some(feed))),
            Err(status) => Some((Err(status), None)),
        }
    }))
}

struct Feed<S> {
    keeper: Arc<Keeper>,
    peer: Arc<Peer>,
    room: Arc<Room>,
    call: &'static str,
    state: S,
    changes: Changes,
    begun: bool,
    _gauge: OpenStream,
}

impl<S: State> Feed<S> {
    /// What is to be sent next.
    async fn next(&mut self) -> Result<S::Message, Status> {
        loop {
            if std::mem::replace(&mut self.begun, true) {
                self.change().await?;
            }
            match self.look().await {
                Ok(Some(message)) => {
                    metrics::counter!("reverie_pushes_total", "call" => self.call).increment(1);
                    return Ok(message);
                }
                Ok(None) => self.room.release(),
                Err(failure) => return Err(refuse(&self.keeper, &self.peer, self.call, failure).await),
            }
        }
    }

    async fn look(&mut self) -> Result<Option<S::Message>, Failure> {
        self.room.reserve().await?;
        self.state.now(&self.keeper, &self.peer).await
    }

    /// Waits until it is worth to look again.
    async fn change(&mut self) -> Result<(), Status> {
        let due_at = self.state.due_at();
        tokio::select! {
            () = tokio::time::sleep_until(due_at.unwrap_or_else(Instant::now)), if due_at.is_some() => Ok(()),
            () = self.changes.next(&self.keeper, &self.peer) => Ok(()),
            () = self.keeper.stopping.cancelled() => Err(stopping()),
        }
    }
}

/// The agent ends, and comes back.
pub(super) fn stopping() -> Status {
    Status::unavailable("the agent stops; try: connect again")
}

/// Nothing for this process.
pub(super) fn no_identity() -> Failure {
    Problem::new(Code::NotPermitted, "no identity issued to this process")
        .advise("an administrator's `agentctl explain --pid PID` shows which rule comes nearest")
        .into()
}

/// Counted while it is open.
pub(super) struct OpenStream(&'static str);

impl OpenStream {
    pub(super) fn new(call: &'static str) -> Self {
        metrics::gauge!("reverie_streams_open", "call" => call).increment(1.0);
        Self(call)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        metrics::gauge!("reverie_streams_open", "call" => self.0).decrement(1.0);
    }
}
