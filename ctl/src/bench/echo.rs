//! The bare counterpart: the same HTTP stack over a unix socket, answering bytes made beforehand, in a process of its own.

use std::convert::Infallible;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::failure::{Exit, Failure, Outcome};

/// The echo server's process; ended and its socket removed when dropped.
#[derive(Debug)]
pub(super) struct Echo {
    child: Child,
    pub(super) socket: PathBuf,
}

impl Echo {
    /// Starts a server that answers `length` bytes.
    pub(super) fn start(length: usize) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::new(Exit::Unavailable, format_args!("cannot start the echo server: {}", crate::failure::reason(&error)))
                .advise("check that TMPDIR can be written")
        };
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| cannot(std::io::Error::other("no random numbers")))?;
        let name = format!("agentctl-bench-{}", data_encoding::HEXLOWER.encode(&random));
        let socket = std::env::temp_dir().join(name);
        let program = std::env::current_exe().map_err(cannot)?;
        // It ends when this pipe does, so that no kill -9 of ours leaves it behind.
        let child = Command::new(program)
            .args(["bench", "echo-server", "--length", &length.to_string()])
            .arg(&socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(cannot)?;
        let echo = Self { child, socket };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(&echo.socket).is_err() {
            if Instant::now() > deadline {
                return Err(cannot(std::io::Error::from(std::io::ErrorKind::TimedOut)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(echo)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The server: until standard input ends.
pub(crate) fn serve(socket: &Path, length: usize) -> Outcome {
    let _ = std::fs::remove_file(socket);
    let broken = |error: std::io::Error| Failure::new(Exit::Unavailable, error);
    let listener = std::os::unix::net::UnixListener::bind(socket).map_err(broken)?;
    listener.set_nonblocking(true).map_err(broken)?;
    let body = Bytes::from(vec![b' '; length]);
    std::thread::spawn(move || {
        // As the agent runs: a runtime with a thread for each processor.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(accept(listener, body));
        }
    });
    let _ = std::io::stdin().lock().read(&mut [0]);
    let _ = std::fs::remove_file(socket);
    Ok(0)
}

async fn accept(listener: std::os::unix::net::UnixListener, body: Bytes) {
    let Ok(listener) = tokio::net::UnixListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let body = body.clone();
        let answer = service_fn(move |_: Request<hyper::body::Incoming>| {
            let mut response = Response::new(Full::new(body.clone()));
            response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}
