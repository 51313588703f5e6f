//! What a handler answers, and how that becomes HTTP.

use std::convert::Infallible;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use reverie_core::api::{Code, Problem};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::keeper::identity::issuance::IssueError;
use crate::keeper::identity::lifecycle::LifecycleError;
use crate::keeper::identity::revocation::RevocationError;
use crate::keeper::identity::rotation::RotationError;
use crate::keeper::mesh::MeshError;
use crate::keeper::roles::RoleError;
use crate::keeper::state::StateError;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is all there, not copied, and wiped when it has been sent: keys are among the answers.
fn whole(bytes: Zeroizing<Vec<u8>>) -> Body {
    Full::new(Bytes::from_owner(bytes)).boxed_unsync()
}

/// A document as JSON, without copies left behind by a vector that grew.
fn to_json<T: Serialize>(document: &T) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, document)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, document)?;
    Ok(bytes)
}

/// Counts what is written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A handler's result.
pub type Answer = Result<Reply, Failure>;

/// A problem, boxed: answers are moved often and rarely fail.
#[derive(Debug)]
pub struct Failure(pub Box<Problem>);

/// What was asked for.
pub enum Reply {
    /// A JSON document.
    Json(Zeroizing<Vec<u8>>),
    /// Bytes of some media type.
    Bytes {
        /// Media type.
        media: &'static str,
        /// The bytes.
        bytes: Zeroizing<Vec<u8>>,
    },
    /// Server-sent events.
    Events(Body),
}

impl Reply {
    /// A document.
    pub fn json<T: Serialize>(document: &T) -> Answer {
        to_json(document)
            .map(Self::Json)
            .map_err(|error| Problem::new(Code::Internal, format!("the answer could not be written: {error}")).into())
    }

    /// Plain text, such as PEM.
    pub fn text(media: &'static str, text: &str) -> Answer {
        Ok(Self::Bytes { media, bytes: Zeroizing::new(text.as_bytes().to_vec()) })
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

/// The HTTP response of an answer. Nothing is ever cached: keys are among the answers.
pub fn respond(answer: Answer) -> Response<Body> {
    let (status, media, body) = match answer {
        Ok(Reply::Json(bytes)) => (StatusCode::OK, "application/json", whole(bytes)),
        Ok(Reply::Bytes { media, bytes }) => (StatusCode::OK, media, whole(bytes)),
        Ok(Reply::Events(body)) => (StatusCode::OK, "text/event-stream", body),
        Err(Failure(problem)) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, "application/problem+json", whole(to_json(&problem).unwrap_or_default()))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Parses a JSON body.
pub fn parse_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(Code::Malformed, format!("the request's body cannot be read: {error}"))
            .advise("GET /v1/openapi.json describes every request")
            .into()
    })
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Problem::new(Code::Unavailable, format!("it could not be recorded, so it was not done: {error}"))
            .advise("free disk space or repair the state directory; `agentctl doctor` looks at both")
            .into()
    }
}

impl From<IssueError> for Failure {
    fn from(error: IssueError) -> Self {
        match error {
            // Whoever asks may have it; this host may not give it.
            IssueError::Limits(error) => Problem::new(Code::Conflict, error.to_string()).into(),
            error => Problem::new(Code::Unavailable, error.to_string())
                .advise("`agentctl doctor` looks at the clock and the issuers")
                .into(),
        }
    }
}

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::State(error) => error.into(),
            other => Problem::new(Code::Unavailable, other.to_string()).into(),
        }
    }
}

impl From<RotationError> for Failure {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Unknown(_) => {
                Problem::new(Code::NotFound, error.to_string()).advise("`agentctl identity list` shows what is declared").into()
            }
            RotationError::State(error) => error.into(),
            RotationError::Issue(error) => error.into(),
            RotationError::Lifecycle(error) => error.into(),
            RotationError::Overtaken => Problem::new(Code::Unavailable, error.to_string()).advise("ask again").into(),
            RotationError::Row(error) => Problem::new(Code::Internal, error.to_string()).into(),
        }
    }
}

impl From<RevocationError> for Failure {
    fn from(error: RevocationError) -> Self {
        match error {
            RevocationError::Unknown(_) => {
                Problem::new(Code::NotFound, error.to_string()).advise("`agentctl cert list` shows those in force").into()
            }
            RevocationError::TooMany { .. } => Problem::new(Code::Conflict, error.to_string())
                .advise("revoke the intermediate that signed them, one entry for all: `agentctl cert revoke --intermediate …`")
                .into(),
            RevocationError::Incomplete { .. } => Problem::new(Code::Unavailable, error.to_string())
                .advise("see to the cause (`agentctl status`), then repeat the command: it goes on where it stopped")
                .into(),
            RevocationError::Lifecycle(error) => error.into(),
        }
    }
}

impl From<MeshError> for Failure {
    fn from(error: MeshError) -> Self {
        let code = match error {
            MeshError::State(error) => return error.into(),
            MeshError::NotIn(_) | MeshError::AlreadyIn | MeshError::Cloned => Code::Conflict,
            MeshError::Record(_) | MeshError::Refused(_) => Code::BadRequest,
            MeshError::Lifecycle(_) => Code::Unavailable,
            MeshError::Row(_) | MeshError::Crypto(_) => Code::Internal,
        };
        // What to try comes after what happened.
        let text = error.to_string();
        match text.split_once("; ") {
            Some((what, advice)) => Problem::new(code, what).advise(advice).into(),
            None => Problem::new(code, text).into(),
        }
    }
}

impl From<RoleError> for Failure {
    fn from(error: RoleError) -> Self {
        Problem::new(Code::Unavailable, error.to_string()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_sent_from_the_memory_that_is_wiped() {
        let bytes = Zeroizing::new(b"a private key".to_vec());
        let memory = bytes.as_ptr();
        let answer = respond(Ok(Reply::Bytes { media: "text/plain", bytes }));
        let collected = futures_util::FutureExt::now_or_never(answer.into_body().collect()).unwrap().unwrap().to_bytes();
        assert_eq!((&collected[..], collected.as_ptr()), (&b"a private key"[..], memory));
    }

    #[test]
    fn a_document_is_written_without_growing() {
        let Ok(Reply::Json(bytes)) = Reply::json(&vec!["a private key"; 100]) else { panic!("not JSON") };
        assert_eq!(bytes.len(), bytes.capacity());
    }
}
