//! Errors as problem details (RFC 9457), `application/problem+json`.

use serde::{Deserialize, Serialize};

/// What went wrong, and what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// Stable, for programs.
    #[serde(rename = "type")]
    pub code: Code,
    /// HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// What to try.
    #[serde(rename = "try", default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// The kinds of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request cannot be read.
    Malformed,
    /// The request is larger than allowed.
    TooLarge,
    /// The caller may not have this.
    NotPermitted,
    /// The token was not accepted.
    BadToken,
    /// There is no such thing.
    NotFound,
    /// No such method here.
    MethodNotAllowed,
    /// It contradicts what is there.
    Conflict,
    /// The certificate request asks for what it may not have, or is weak.
    BadRequest,
    /// Too many requests or connections.
    TooMany,
    /// The caller ended, or became another program, since it connected.
    CallerGone,
    /// The agent cannot do it now: disk full, clock wrong, warden away.
    Unavailable,
    /// The agent failed; its log says how.
    Internal,
}

impl Code {
    /// The HTTP status (RFC 9110 §15).
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::BadToken => 401,
            Self::NotPermitted | Self::CallerGone => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::BadRequest => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

impl Problem {
    /// A problem without advice.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, status: code.status(), detail: detail.into(), advice: None }
    }

    /// With what to try.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}
