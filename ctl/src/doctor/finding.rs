//! What a check says.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Works, but weaker or sooner out of order than it could be.
    Warn,
    /// Something does not work.
    Fail,
    /// Could not be looked at, because something else is wrong or permission lacks.
    Skipped,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Which check.
    pub(crate) check: &'static str,
    pub(crate) level: Level,
    /// What was found.
    pub(crate) what: String,
    /// What to try.
    #[serde(rename = "try")]
    pub(crate) advice: Option<String>,
}

/// Findings without the name of the check, which the list of checks adds.
pub(super) struct Found(pub(super) Level, pub(super) String, pub(super) Option<String>);

pub(super) fn ok(what: impl Into<String>) -> Found {
    Found(Level::Ok, what.into(), None)
}

pub(super) fn warn(what: impl Into<String>, advice: impl Into<String>) -> Found {
    Found(Level::Warn, what.into(), Some(advice.into()))
}

pub(super) fn fail(what: impl Into<String>, advice: impl Into<String>) -> Found {
    Found(Level::Fail, what.into(), Some(advice.into()))
}

pub(super) fn skipped(why: impl Into<String>) -> Found {
    Found(Level::Skipped, why.into(), None)
}
