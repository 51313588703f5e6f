//! HTTP/1.1 over the agent's unix sockets. Every wait has a deadline, every answer a bound.

mod answer;
mod events;
mod failure;

use std::time::Duration;

pub(crate) use events::Events;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reverie_core::api::{Code, Operation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::layout::Layout;
use crate::presented::Token;

/// Asks one agent.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) layout: Layout,
    pub(crate) timeout: Duration,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    operation: Operation,
    name: &'a str,
    query: String,
    body: Option<Zeroizing<Vec<u8>>>,
    token: Option<&'a Token>,
}

impl<'a> Call<'a> {
    pub(crate) fn of(operation: Operation) -> Self {
        Self { operation, name: "", query: String::new(), body: None, token: None }
    }

    /// Fills the path's parameter. The name was parsed (identity, secret, host, client), so it needs no escaping.
    #[must_use]
    pub(crate) fn named(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    /// `key=value`, plain characters only.
    #[must_use]
    pub(crate) fn query(self, query: String) -> Self {
        Self { query, ..self }
    }

    #[must_use]
    pub(crate) fn token(self, token: Option<&'a Token>) -> Self {
        Self { token, ..self }
    }

    /// JSON. The bytes are wiped once sent.
    pub(crate) fn body<T: Serialize>(self, value: &T) -> Result<Self, Failure> {
        // Room enough that the vector does not move and leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(128 * 1024));
        serde_json::to_writer(&mut *bytes, value).map_err(|why| Failure::new(Exit::Internal, why))?;
        Ok(Self { body: Some(bytes), ..self })
    }

    fn target(&self) -> String {
        let path = match self.operation.path().split_once('{') {
            Some((before, rest)) => format!("{before}{}{}", self.name, rest.split_once('}').map_or("", |(_, after)| after)),
            None => self.operation.path().to_owned(),
        };
        if self.query.is_empty() { path } else { format!("{path}?{}", self.query) }
    }

    fn into_request(self) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder().method(self.operation.method().as_str()).uri(self.target());
        request =
            request.header(HOST, "localhost").header(ACCEPT, "application/json, application/problem+json, text/event-stream");
        if let Some(token) = self.token {
            let text = Zeroizing::new(format!("Biscuit {}", token.as_str()));
            let mut value = HeaderValue::from_str(&text).map_err(|why| Failure::new(Exit::Internal, why))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = self.body.map(Bytes::from_owner).unwrap_or_default();
        request.body(Full::new(body)).map_err(|why| Failure::new(Exit::Internal, why))
    }
}

impl Client {
    /// Sends the request and reads a JSON answer.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Failure> {
        let socket = self.layout.socket(call.operation.surface()).to_owned();
        let exchange = async {
            let response = self.send(call).await?;
            answer::read_json(&socket, response).await
        };
        tokio::time::timeout(self.timeout, exchange).await.map_err(|_| failure::too_slow(&socket, self.timeout))?
    }

    /// As an administrator; if the caller is none, or there is no admin socket, the other way.
    pub(crate) async fn call_or<T: DeserializeOwned>(&self, admin: Call<'_>, local: Call<'_>) -> Result<T, Failure> {
        match self.call(admin).await {
            Err(why) if is_no_admin(&why) => self.call(local).await,
            other => other,
        }
    }

    /// Opens a stream of server-sent events; the deadline is for the first line of the answer only.
    pub(crate) async fn events(&self, call: Call<'_>) -> Result<Events, Failure> {
        let socket = self.layout.socket(call.operation.surface()).to_owned();
        let exchange = async {
            let response = self.send(call).await?;
            match response.status().is_success() {
                true => Ok(response.into_body()),
                false => Err(answer::refusal(&socket, response).await),
            }
        };
        let body = tokio::time::timeout(self.timeout, exchange).await.map_err(|_| failure::too_slow(&socket, self.timeout))??;
        Ok(Events::new(socket, body))
    }

    async fn send(&self, call: Call<'_>) -> Result<Response<Incoming>, Failure> {
        let surface = call.operation.surface();
        let socket = self.layout.socket(surface);
        let stream = UnixStream::connect(socket).await.map_err(|error| failure::connecting(&self.layout, surface, &error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|why| failure::broken(socket, &why))?;
        tokio::spawn(connection);
        sender.send_request(call.into_request()?).await.map_err(|why| failure::broken(socket, &why))
    }
}

/// True if the admin socket is closed to this caller, so that the agent socket is worth a try.
pub(crate) fn is_no_admin(failure: &Failure) -> bool {
    match failure.code {
        Some(code) => code == Code::NotPermitted,
        None => matches!(failure.exit, Exit::NotPermitted | Exit::Unavailable),
    }
}
