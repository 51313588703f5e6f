//! Answers and refusals. A refusal says what happened and what to try, and nothing that the caller may not know.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};

/// What a handler gives back.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    media: &'static str,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A request that is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// For programs.
    pub error: &'static str,
    /// What happened, then what to try.
    pub message: String,
    /// More headers.
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of a refusal.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    error: String,
    message: String,
}

impl Answer {
    /// A JSON document.
    pub fn json<T: Serialize>(status: StatusCode, document: &T) -> Self {
        let body = serde_json::to_vec(document).unwrap_or_default();
        Self { status, media: "application/json", body: body.into(), headers: vec![] }
    }

    /// Bytes with 200.
    pub fn bytes(media: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, media, body: body.into(), headers: vec![] }
    }

    /// 204.
    pub fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, media: "", body: Bytes::new(), headers: vec![] }
    }

    /// With a header; one that cannot be written is left out.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// As hyper sends it. Nothing is to be kept by anyone on the way.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if !self.media.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response
    }
}

impl Refusal {
    /// A refusal.
    pub fn new(status: u16, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into(), headers: vec![] }
    }

    /// 400.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, "malformed", message)
    }

    /// 405.
    pub fn method(allowed: &'static str) -> Self {
        let refusal = Self::new(405, "method_not_allowed", format!("this path answers {allowed} only"));
        refusal.with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "too_large", format!("the body is larger than the {limit} bytes that this host takes; send less at once"))
    }

    /// 415.
    pub fn media(wanted: &'static str) -> Self {
        Self::new(415, "unsupported_media_type", format!("the body must be {wanted}; set Content-Type"))
    }

    /// 429.
    pub fn too_many(message: impl Into<String>) -> Self {
        Self::new(429, "too_many", message).with(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 503 for one that asks for too much at once.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(503, "unavailable", message).with(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 503. Why, is for the log: the caller may not know what goes on inside.
    pub fn unavailable(why: impl std::fmt::Display) -> Self {
        tracing::warn!(%why, "a request from the network could not be answered");
        let message = "this host cannot answer now; try again in a moment, and see its log if that stays so";
        Self::new(503, "unavailable", message).with(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 401 with the way to do it.
    #[must_use]
    pub fn negotiate(self) -> Self {
        self.with(WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate"))
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let said = Said { error: refusal.error.to_owned(), message: refusal.message };
        Self { headers: refusal.headers, ..Self::json(status, &said) }
    }
}

/// Why another host says that this one may take no part, if that is what its refusal says.
pub fn not_admitted(status: u16, body: &[u8]) -> Option<String> {
    let said: Said = serde_json::from_slice(body).ok()?;
    (status == 403 && said.error == "not_admitted").then(|| message_of(body)).flatten()
}

/// What another host's refusal says, shortened and made safe to show.
pub fn message_of(body: &[u8]) -> Option<String> {
    let said: Said = serde_json::from_slice(body).ok()?;
    Some(said.message.chars().filter(|c| !c.is_control()).take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_happened_and_how_to_go_on() {
        let answer = Answer::from(Refusal::new(401, "no_token", "no token came; send one").negotiate()).into_response();
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()[WWW_AUTHENTICATE], "Negotiate");
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(Answer::from(Refusal::method("GET")).into_response().headers()[ALLOW], "GET");
        let shown = serde_json::json!({"error": "x", "message": format!("a\u{1b}[31mb{}", "c".repeat(1000))}).to_string();
        let message = message_of(shown.as_bytes()).unwrap();
        assert!(message.starts_with("a[31mb") && message.len() == 300, "{message}");
    }

    #[test]
    fn what_goes_on_inside_is_not_told() {
        let refusal = Refusal::unavailable("disk full at /var/lib/reverie");
        assert!(!refusal.message.contains("/var"), "{}", refusal.message);
    }
}
