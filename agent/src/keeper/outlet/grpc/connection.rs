//! One connection: HTTP/2 within bounds, ended when it is idle, when its peer is dead, and when the agent stops.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::time::Sleep;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tonic::Status;

use super::authority::Masked;
use super::room::Room;
use super::routing::Answered;
use super::{failure, routing};
use crate::keeper::Keeper;
use crate::keeper::local::listener::DRAIN;
use crate::keeper::local::peer::Peer;
use crate::ops::shares::Share;

/// Streams at once on one connection. Who needs more opens another connection, as Envoy does.
const STREAMS: u32 = 100;
/// Headers of one request, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;
/// What is received ahead of being read, of one stream and of all, in bytes.
const WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// What is kept of one stream that its reader has not taken, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// A peer that does not answer a ping for so long is dead, or stopped.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_DEADLINE: Duration = Duration::from_secs(20);

/// Runs a connection's streams as tasks that the agent waits for when it stops. A panic ends one of them alone.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// The body of an answer, counted as an open call until it has been sent, and its bytes until they have been taken.
pub(super) struct Answer {
    body: tonic::body::Body,
    room: Arc<Room>,
    /// Until its last message was taken: hyper asks for the next one before.
    taken: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// When it is over, whatever is left to say.
    until: Option<Pin<Box<Sleep>>>,
    /// It was said why it is over.
    ended: bool,
    _open: Open,
}

/// One call of a uid and of a connection.
struct Open {
    connection: Arc<AtomicU32>,
    _call: Option<Share<u32>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connection.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Answer {
    fn end(&mut self, status: &Status) -> Result<Frame<Bytes>, Status> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(until) = &mut self.until
            && until.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(
                self.end(&Status::deadline_exceeded("the call has been open for long enough; try: another one")),
            ));
        }
        if let Some(taken) = &mut self.taken {
            ready!(taken.as_mut().poll(context));
            self.taken = None;
        }
        let message = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(message) => message,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            },
            other => return Poll::Ready(other),
        };
        Poll::Ready(Some(match self.room.count(message) {
            Ok((message, taken)) => {
                self.taken = Some(Box::pin(taken.cancelled_owned()));
                Ok(Frame::data(message))
            }
            Err(excess) => self.end(&failure::status(&excess)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves one attested process until it goes.
pub async fn serve(keeper: Arc<Keeper>, peer: Arc<Peer>, stream: Pin<Box<TimeoutStream<UnixStream>>>, idle: Duration) {
    let (open, peer_pid) = (Arc::new(AtomicU32::new(0)), peer.caller.pid);
    let (stopping, calls) = (keeper.stopping.clone(), Arc::clone(&open));
    let stalled = CancellationToken::new();
    let reader = stalled.clone();
    let tasks = Tracked(keeper.tasks.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (keeper, peer) = (Arc::clone(&keeper), Arc::clone(&peer));
        calls.fetch_add(1, Ordering::Relaxed);
        let mut open = Open { connection: Arc::clone(&calls), _call: None };
        let room = Arc::new(keeper.grpc.unread.room(peer.caller.uid, &reader));
        async move {
            let Answered { response, call, until } = routing::answer(&keeper, &peer, &room, request).await;
            open._call = call;
            let until = until.map(|until| Box::pin(tokio::time::sleep_until(until)));
            Ok::<_, Infallible>(response.map(|body| Answer { body, room, taken: None, until, ended: false, _open: open }))
        }
    });
    let mut http = http2::Builder::new(tasks);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_DEADLINE);
    let connection = http.serve_connection(TokioIo::new(Masked::new(stream)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        result = connection.as_mut() => Some(result),
        () = stalled.cancelled() => {
            tracing::debug!(pid = peer_pid, "a reader takes nothing of what was sent to it");
            return;
        }
        () = idle_for(&open, idle) => None,
        () = stopping.cancelled() => None,
    };
    let ended = match ended {
        Some(result) => Ok(result),
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection.as_mut()).await
        }
    };
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "a connection of workload.sock ended badly");
    }
}

/// Comes to an end once there was no call for so long, seen to a tenth of it.
async fn idle_for(open: &AtomicU32, idle: Duration) {
    let mut quiet = Duration::ZERO;
    let step = (idle / 10).max(Duration::from_millis(100));
    while quiet < idle {
        tokio::time::sleep(step).await;
        quiet = if open.load(Ordering::Relaxed) == 0 { quiet + step } else { Duration::ZERO };
    }
}
