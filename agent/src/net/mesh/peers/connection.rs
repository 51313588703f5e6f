//! One HTTP/2 connection to another host.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reverie_core::mesh::crypto::SigningPublicKey;
use std::time::Duration;
use tokio::task::AbortHandle;

use super::Asking;
use super::dial::Dialled;
use crate::net::http::{MAX_HEAD, read_response};
use crate::net::tls::Secured;

/// A peer that does not answer pings is gone.
const PING: Duration = Duration::from_secs(15);

/// It. Closed when this is dropped.
#[derive(Debug)]
pub struct Connection {
    /// The key the other side proved.
    pub key: SigningPublicKey,
    /// `host:port`.
    pub address: String,
    /// What the handshake proved besides.
    pub secured: Secured,
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct AskError {
    /// For people.
    pub text: String,
    /// The connection was closed before the request was sent.
    pub is_closed: bool,
}

impl From<String> for AskError {
    fn from(text: String) -> Self {
        Self { text, is_closed: false }
    }
}

impl Connection {
    /// Greets in HTTP/2.
    pub async fn over(dialled: Dialled) -> Result<Self, String> {
        let key = dialled.secured.key.clone().ok_or("its certificate carries no P-256 key")?;
        if !dialled.secured.hybrid {
            return Err("it did not use X25519MLKEM768; upgrade its agent".to_owned());
        }
        let mut http = Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_header_list_size(MAX_HEAD)
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(4 * 1024 * 1024)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        let (sender, connection) =
            http.handshake(TokioIo::new(dialled.stream)).await.map_err(|error| format!("it does not speak HTTP/2 ({error})"))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a peer ended");
            }
        });
        Ok(Self { key, address: dialled.address, secured: dialled.secured, sender, driver: driver.abort_handle() })
    }

    /// True while it can be used.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.driver.is_finished()
    }

    /// At once, requests in work included.
    pub fn close(&self) {
        self.driver.abort();
    }

    /// Sends a request and reads the whole answer: status, headers, body. The caller sets the deadline.
    pub async fn ask(&self, asking: Asking<'_>) -> Result<(u16, HeaderMap, Vec<u8>), AskError> {
        let mut request = Request::builder().method(asking.method).uri(format!("https://{}{}", self.address, asking.path));
        if !asking.media.is_empty() {
            request = request.header(CONTENT_TYPE, asking.media);
        }
        let mut request = request.body(Full::new(asking.body)).map_err(|error| format!("{:?}: {error}", self.address))?;
        request.headers_mut().extend(asking.headers);
        let mut sender = self.sender.clone();
        let closed = |error: hyper::Error| AskError { text: format!("the connection broke ({error})"), is_closed: true };
        sender.ready().await.map_err(closed)?;
        let response: Response<Incoming> = sender.send_request(request).await.map_err(|error| AskError {
            is_closed: error.is_canceled() || error.is_closed(),
            text: format!("the connection broke ({error})"),
        })?;
        let (head, body) = response.into_parts();
        let body = read_response(body, asking.limit).await?;
        Ok((head.status.as_u16(), head.headers, body))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
