//! Accepting connections: counted, attested once, served until idle, closed in good order.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use reverie_core::api::{Code, Problem, Surface};
use reverie_core::caller::Caller;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio_io_timeout::TimeoutStream;

use super::answer::{Failure, respond};
use super::peer::Peer;
use super::{call, denials};
use crate::keeper::Keeper;
use crate::keeper::outlet::grpc;
use crate::ops::shares::{Share, Shares};

/// A client that takes no byte of an answer for so long is cut off.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// How long open requests may take once the agent is told to stop.
pub const DRAIN: Duration = Duration::from_secs(5);
/// What is read ahead of a request that is not complete, in bytes. The largest head fits.
const MAX_BUFFER: usize = 32 * 1024;
/// Connections on the admin socket are counted apart: administrators always get through.
const ADMIN_CONNECTIONS: u32 = 256;

/// A socket for local processes, and what is spoken on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// HTTP: `agent.sock`, `admin.sock`.
    Http(Surface),
    /// gRPC: `workload.sock`.
    Workload,
}

impl Socket {
    fn name(self) -> &'static str {
        match self {
            Self::Http(Surface::Local) => "agent.sock",
            Self::Http(Surface::Admin) => "admin.sock",
            Self::Workload => "workload.sock",
        }
    }
}

/// Binds a socket of our own, with its mode from the first moment on.
pub fn bind(path: &Path, mode: u32) -> std::io::Result<std::os::unix::net::UnixListener> {
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        use std::os::unix::fs::FileTypeExt;
        if !meta.file_type().is_socket() {
            return Err(std::io::Error::other(format!("{} exists and is no socket; remove it", path.display())));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(std::io::Error::other(format!(
                "another agent serves {}; stop it, or configure another path",
                path.display()
            )));
        }
        std::fs::remove_file(path)?;
    }
    // Bound under a name nobody knows, given its mode, then moved into place: never open to more than it should be.
    let hidden = path.with_extension(format!("sock-{}", std::process::id()));
    let _ = std::fs::remove_file(&hidden);
    let listener = std::os::unix::net::UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&hidden, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves one socket until the agent stops.
pub async fn serve(keeper: Arc<Keeper>, listener: UnixListener, socket: Socket) {
    let connections = Arc::new(Shares::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = keeper.stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => admit(&keeper, &connections, stream, socket),
            Err(error) => {
                // Out of descriptors, mostly: wait for some to be closed rather than spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit(keeper: &Arc<Keeper>, connections: &Arc<Shares<u32>>, stream: UnixStream, socket: Socket) {
    let Ok(credentials) = reverie_sys::peer::peer_credentials(stream.as_fd()) else { return };
    // The agent is its own administrator, and asks itself nothing: whoever had it connect here for them, by a path that changed
    // while it was looked at, gets no word.
    if !cfg!(test) && u32::try_from(credentials.pid) == Ok(std::process::id()) {
        return tracing::warn!("a connection of the agent to itself is refused: does a tunnel lead to its socket?");
    }
    let (total, per_uid) = match socket {
        Socket::Http(Surface::Local) | Socket::Workload => {
            let policy = keeper.policy();
            (policy.config.limits.connections, policy.config.limits.connections_per_uid)
        }
        Socket::Http(Surface::Admin) => (ADMIN_CONNECTIONS, ADMIN_CONNECTIONS),
    };
    let Some(counted) = connections.take(credentials.uid, 1, total, per_uid) else {
        metrics::counter!("reverie_connections_shed_total").increment(1);
        // Who speaks gRPC takes the end of a connection for what it is.
        if socket != Socket::Workload {
            shed(stream);
        }
        return;
    };
    keeper.tasks.spawn(serve_connection(Arc::clone(keeper), stream, socket, counted));
}

/// Says why, without waiting for the client to read it.
fn shed(stream: UnixStream) {
    let problem =
        Problem::new(Code::TooMany, "too many connections are open").advise("close some, or raise [limits] connections");
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let text = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.try_write(text.as_bytes());
}

async fn serve_connection(keeper: Arc<Keeper>, mut stream: UnixStream, socket: Socket, _counted: Share<u32>) {
    let peer = match Peer::attest(&keeper, stream.as_fd()).await {
        Ok(peer) => Arc::new(peer),
        Err(failure) => {
            tracing::debug!(problem = %failure.0, "a caller could not be attested");
            record_unattested(&keeper, &stream, socket, &failure).await;
            if socket == Socket::Workload {
                return;
            }
            let body = serde_json::to_string(&failure.0).unwrap_or_default();
            let status = failure.0.status;
            let text = format!(
                "HTTP/1.1 {status} Refused\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = tokio::time::timeout(WRITE_STALL, stream.write_all(text.as_bytes())).await;
            return;
        }
    };
    let idle = keeper.policy().config.limits.idle.0;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_STALL));
    let stream = Box::pin(stream);
    match socket {
        Socket::Http(surface) => serve_http(keeper, peer, surface, stream, idle).await,
        Socket::Workload => grpc::serve(keeper, peer, stream, idle).await,
    }
}

async fn serve_http(
    keeper: Arc<Keeper>,
    peer: Arc<Peer>,
    surface: Surface,
    stream: Pin<Box<TimeoutStream<UnixStream>>>,
    idle: Duration,
) {
    let stopping = keeper.stopping.clone();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (keeper, peer) = (Arc::clone(&keeper), Arc::clone(&peer));
        async move { Ok::<_, std::convert::Infallible>(respond(call::handle(&keeper, &peer, surface, request).await)) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(MAX_BUFFER).max_headers(64).half_close(true);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN, connection.as_mut()).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// By what is certain of whoever connected.
async fn record_unattested(keeper: &Keeper, stream: &UnixStream, socket: Socket, failure: &Failure) {
    let Ok(credentials) = reverie_sys::peer::peer_credentials(stream.as_fd()) else { return };
    let caller = Caller::by_credentials(credentials.pid, credentials.uid, credentials.gid, vec![]);
    denials::record(keeper, &caller, format!("connection to {}", socket.name()), &failure.0).await;
}
