//! Who may bring in, put out and promote whom.

use std::fmt;

/// Something that is not done, with the status for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What happened.
    pub message: String,
    /// What to try.
    pub advice: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: u16, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status, message: message.into(), advice: advice.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.advice)
    }
}

impl std::error::Error for Refusal {}
