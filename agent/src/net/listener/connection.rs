//! One connection: a handshake within its deadline, then HTTP until it is idle, its time is up, or its key is not welcome.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Doors;
use crate::net::counters;
use crate::net::http::{Caller, MAX_HEAD};
use crate::net::mesh::endpoint;
use crate::net::mesh::known::Who;
use crate::net::tls::ServerTls;
use crate::ops::origin::Origin;
use crate::ops::shares::Share;

/// From the first byte to the last of a handshake, the wait for its turn included.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes a second for one address, times the rate of requests: a peer behind the same address reconnects now and then.
const HANDSHAKES_PER_REQUEST: u32 = 2;
/// For the head of a request, and between two requests of a stranger.
const HEAD: Duration = Duration::from_secs(15);
/// Whoever takes no byte for so long is cut off.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// A peer that does not answer pings is gone. Seldom: they are most of what an idle mesh would send.
const PING: Duration = Duration::from_secs(180);
const PONG: Duration = Duration::from_secs(30);
/// Between two requests of a peer.
const PEER_IDLE: Duration = Duration::from_secs(15 * 60);
/// A stranger's connection, in all: longer than any wait for a client.
const STRANGER: Duration = Duration::from_secs(15 * 60);
/// For requests in work when a connection is closed in good order.
const DRAIN: Duration = Duration::from_secs(2);
/// Requests at once on one connection.
const STREAMS: u32 = 64;

type Stream = TlsStream<Pin<Box<TimeoutStream<TcpStream>>>>;

pub(super) async fn serve(doors: Arc<Doors>, stream: TcpStream, from: SocketAddr, tls: ServerTls, stranger: Share<Origin>) {
    let net = &doors.net;
    let origin = Origin::from(from.ip());
    let Some(known) = net.known() else { return };
    if !net.handshakes.admit(origin, known.settings.rate_per_second.saturating_mul(HANDSHAKES_PER_REQUEST)) {
        counters::add(&net.counters.shed, 1);
        return;
    }
    let _ = stream.set_nodelay(true);
    let handshake = async {
        // Who sends nothing takes nobody's turn.
        stream.readable().await?;
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_STALL));
        let _turn = doors.lobby(origin).handshakes.acquire().await.map_err(std::io::Error::other)?;
        tls.accept(Box::pin(stream)).await
    };
    let (stream, secured) = match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => {
            tracing::debug!(%from, %error, "a handshake failed");
            return counters::add(&net.counters.handshakes_failed, 1);
        }
        Err(_) => return counters::add(&net.counters.handshakes_failed, 1),
    };
    let peer = match &secured.key {
        Some(key) => matches!(known.who(&key.kid()), Who::Peer(_)),
        None => false,
    };
    // A peer does not take a stranger's place.
    let _counted = Some(stranger).filter(|_| !peer);
    let activity = Arc::new(Activity::default());
    if let (true, Some(key)) = (peer, &secured.key) {
        net.met.at(origin);
        net.open.make_room(key, known.settings.max_connections as usize);
    }
    let registered = net.open.register(secured.key.clone(), peer, Arc::clone(&activity));
    // A situation that came during the handshake has closed what it knew of, and not this.
    if let (true, Some(key), Some(now)) = (peer, &secured.key, net.known())
        && !now.is_welcome(key)
    {
        return;
    }
    let caller = Arc::new(Caller { address: from, secured });
    converse(&doors, stream, caller, peer, &registered.closing, activity).await;
}

/// When a request was last begun or ended, and how many are in work.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    last: AtomicU64,
    busy: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0), busy: AtomicU64::new(0) }
    }
}

impl Activity {
    /// Since when nothing is in work; `None` while something is.
    pub fn quiet(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        (self.busy.load(Ordering::Relaxed) == 0).then(|| self.start.elapsed().saturating_sub(last))
    }

    fn touch(&self) {
        self.last.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Waits until nothing was asked for so long.
    async fn idle(&self, limit: Duration) {
        loop {
            let wait = match self.quiet() {
                Some(quiet) if quiet >= limit => return,
                Some(quiet) => limit - quiet,
                None => limit,
            };
            tokio::time::sleep(wait.max(Duration::from_millis(10))).await;
        }
    }
}

/// Counts a request that is in work, whichever way it ends.
struct Busy(Arc<Activity>);

impl Busy {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.busy.fetch_add(1, Ordering::Relaxed);
        activity.touch();
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

async fn converse(
    doors: &Arc<Doors>,
    stream: Stream,
    caller: Arc<Caller>,
    peer: bool,
    closing: &CancellationToken,
    activity: Arc<Activity>,
) {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (net, seen) = (Arc::clone(&doors.net), Arc::clone(&activity));
    let service = service_fn(move |request: Request<Incoming>| {
        let (net, caller, busy) = (Arc::clone(&net), Arc::clone(&caller), Busy::begin(&seen));
        async move {
            let response: Response<Full<Bytes>> = endpoint::handle(&net, &caller, request).await;
            drop(busy);
            Ok::<_, Infallible>(response)
        }
    });
    let end = async {
        let (idle, whole) = if peer { (PEER_IDLE, Duration::MAX) } else { (HEAD, STRANGER) };
        tokio::select! {
            () = closing.cancelled() => false,
            () = activity.idle(idle) => true,
            () = tokio::time::sleep(whole.min(Duration::from_secs(1 << 30))) => true,
        }
    };
    let io = TokioIo::new(stream);
    // `true` from `end`: in good order, with what is in work finished.
    macro_rules! drive {
        ($connection:expr) => {{
            let connection = $connection;
            tokio::pin!(connection);
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a connection ended badly");
                    }
                }
                in_order = end => if in_order {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(DRAIN, connection.as_mut()).await;
                }
            }
        }};
    }
    match is_http2 {
        true => {
            let mut http = http2::Builder::new(TokioExecutor::new());
            http.timer(TokioTimer::new())
                .max_header_list_size(MAX_HEAD)
                .max_concurrent_streams(STREAMS)
                .initial_stream_window_size(256 * 1024)
                .initial_connection_window_size(1024 * 1024)
                .keep_alive_interval(PING)
                .keep_alive_timeout(PONG);
            drive!(http.serve_connection(io, service));
        }
        false => {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD as usize).max_headers(64);
            drive!(http.serve_connection(io, service));
        }
    }
}
