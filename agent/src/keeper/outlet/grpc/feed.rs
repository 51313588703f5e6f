//! Streams of the Workload API: the whole state at once, and again whenever it has changed.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::api::{Code, Problem};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::changes::Changes;
use super::failure::refuse;
use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;

/// A reader that has not taken the message before the one that is due by then is cut off.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// Messages as tonic takes them.
pub(super) type Messages<M> = ReceiverStream<Result<M, Status>>;

/// What one stream says.
pub(super) trait State: Send + 'static {
    /// What is sent.
    type Message: Send + 'static;

    /// The whole state as it is now, for this process as it is now; `None` if it is as it was sent. What holds a key is in the
    /// audit log when this returns.
    fn now(&mut self, keeper: &Arc<Keeper>, peer: &Peer) -> impl Future<Output = Result<Option<Self::Message>, Failure>> + Send;

    /// When it changes of itself.
    fn due_at(&self) -> Option<Instant> {
        None
    }
}

/// Sends that state until the caller goes, or is refused.
pub(super) fn follow<S: State>(
    keeper: &Arc<Keeper>,
    peer: &Arc<Peer>,
    call: &'static str,
    state: S,
) -> Response<Messages<S::Message>> {
    let (messages, receiver) = mpsc::channel(1);
    keeper.tasks.spawn(feed(Arc::clone(keeper), Arc::clone(peer), call, state, messages));
    Response::new(ReceiverStream::new(receiver))
}

/// There is room for one message, and what is put there is as new as it can be: a slow reader meets no backlog.
async fn feed<S: State>(
    keeper: Arc<Keeper>,
    peer: Arc<Peer>,
    call: &'static str,
    mut state: S,
    messages: mpsc::Sender<Result<S::Message, Status>>,
) {
    let mut changes = Changes::watch(&keeper);
    let _gauge = OpenStream::new(call);
    loop {
        let Ok(Ok(place)) = tokio::time::timeout(STALL, messages.reserve()).await else {
            tracing::debug!(call, pid = peer.caller.pid, "a reader went, or takes nothing");
            return;
        };
        match state.now(&keeper, &peer).await {
            Ok(Some(message)) => {
                metrics::counter!("reverie_pushes_total", "call" => call).increment(1);
                place.send(Ok(message));
            }
            Ok(None) => drop(place),
            Err(failure) => {
                place.send(Err(refuse(&keeper, &peer, call, failure).await));
                return;
            }
        }
        let due_at = state.due_at();
        tokio::select! {
            () = tokio::time::sleep_until(due_at.unwrap_or_else(Instant::now)), if due_at.is_some() => {}
            () = changes.next(&keeper, &peer) => {}
            () = messages.closed() => return,
            () = keeper.stopping.cancelled() => {
                let _ = messages.try_send(Err(stopping()));
                return;
            }
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
