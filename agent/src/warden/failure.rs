//! Why a request was not carried out.

use std::fmt::Display;

use reverie_core::ipc::warden::Reply;

/// Becomes a reply; the warden goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The process ended.
    Gone,
    /// What happened, then what to try.
    Refused(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Refused(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::Refused(message.to_owned())
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        match failure {
            Failure::Gone => Reply::Gone,
            Failure::Refused(message) => Reply::Failed { message },
        }
    }
}

/// Says what was being done when an error came.
pub(super) trait Doing<T> {
    /// Makes the error a sentence: `could not DOING: ERROR`.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::Refused(format!("could not {}: {error}", doing())))
    }
}
