//! Why a verb failed: what happened, what to try, and with which exit code.

use std::fmt;
use std::path::Path;

use reverie_core::api::{Code, Problem};

/// Exit codes of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Wrong arguments.
    Usage = 64,
    /// What was given or found is damaged or refused: a bad CSR, a broken audit chain, a conflict.
    Data = 65,
    /// A file, identity, secret or certificate does not exist.
    NoInput = 66,
    /// The agent cannot be reached, or cannot do it now.
    Unavailable = 69,
    /// The agent failed, or answered what cannot be understood.
    Internal = 70,
    /// A file cannot be created.
    CantCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// Too much at once, or too slow: the same may work later.
    TempFail = 75,
    /// Not permitted.
    NotPermitted = 77,
    /// The configuration is wrong.
    Config = 78,
}

/// What a verb returns: the exit code, 0 unless it documents another.
pub(crate) type Outcome = Result<u8, Failure>;

/// One failure, ready to be shown.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What happened.
    pub(crate) what: String,
    /// What to try.
    pub(crate) advice: Option<String>,
    /// How the process ends.
    pub(crate) exit: Exit,
    /// The agent's own code, if it was the agent that refused.
    pub(crate) code: Option<Code>,
    /// Nobody is left to read a message: the reader of standard output went away.
    pub(crate) silent: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), advice: None, exit, code: None, silent: false }
    }

    #[must_use]
    pub(crate) fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }

    /// A file that cannot be read.
    pub(crate) fn reading(path: &Path, error: &std::io::Error) -> Self {
        let (exit, advice) = match error.kind() {
            std::io::ErrorKind::NotFound => (Exit::NoInput, "check the path"),
            std::io::ErrorKind::PermissionDenied => (Exit::NotPermitted, "run as a user who may read it"),
            _ => (Exit::Io, "check that it is a regular file and that the disk is in order"),
        };
        Self::new(exit, format_args!("cannot read {}: {}", path.display(), reason(error))).advise(advice)
    }

    /// A file that cannot be made or written.
    pub(crate) fn writing(path: &Path, error: &std::io::Error) -> Self {
        let (exit, advice) = match error.kind() {
            std::io::ErrorKind::AlreadyExists => (Exit::CantCreate, "choose another place, or remove it first"),
            std::io::ErrorKind::PermissionDenied => {
                (Exit::NotPermitted, "run as a user who may write there, or choose another place")
            }
            std::io::ErrorKind::NotFound => (Exit::CantCreate, "make the directory first"),
            std::io::ErrorKind::StorageFull => (Exit::Io, "make room on the disk"),
            _ => (Exit::CantCreate, "check the path and the disk"),
        };
        Self::new(exit, format_args!("cannot write {}: {}", path.display(), reason(error))).advise(advice)
    }

    /// The reader of standard output went away.
    pub(crate) fn writing_out(error: &std::io::Error) -> Self {
        let silent = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { silent, ..Self::new(Exit::Io, format_args!("cannot write to standard output: {}", reason(error))) }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = match problem.code {
            Code::Malformed | Code::TooLarge | Code::Conflict | Code::BadRequest => Exit::Data,
            Code::NotPermitted | Code::BadToken => Exit::NotPermitted,
            Code::NotFound => Exit::NoInput,
            Code::MethodNotAllowed | Code::Internal => Exit::Internal,
            Code::TooMany | Code::CallerGone => Exit::TempFail,
            Code::Unavailable => Exit::Unavailable,
        };
        let advice = problem.advice.or_else(|| default_advice(problem.code).map(str::to_owned));
        Self { what: problem.detail, advice, exit, code: Some(problem.code), silent: false }
    }
}

/// What to try when the agent itself has no advice.
fn default_advice(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Malformed | Code::MethodNotAllowed => "compare `agentctl --version` with the agent's: `agentctl doctor`",
        Code::TooLarge => "send less, or raise `limits.body_bytes` in the agent's configuration",
        Code::NotPermitted => "ask an administrator to run `agentctl explain --pid PID` for your process",
        Code::BadToken => "look at the token with `agentctl token inspect`, or ask for a new one",
        Code::NotFound => "check the name: `agentctl identity list`, `agentctl secret list`, `agentctl cert list`",
        Code::Conflict => "look at the present state: `agentctl status`",
        Code::BadRequest => "correct what the message names, then run the command again",
        Code::TooMany => "wait a moment and try again",
        Code::CallerGone => "run the command again",
        Code::Unavailable => "`agentctl doctor` says what is wrong",
        Code::Internal => "read the agent's log: journalctl -u reverie-agent",
    })
}

/// The text of an I/O error without Rust's "(os error 2)".
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_text_carries_no_rust_jargon() {
        assert_eq!(reason(&std::io::Error::from_raw_os_error(2)), "No such file or directory");
    }

    #[test]
    fn every_problem_of_the_agent_has_something_to_try() {
        let failure = Failure::from(Problem::new(Code::Internal, "it broke"));
        assert!(failure.advice.is_some_and(|advice| advice.contains("log")));
        let own = Failure::from(Problem::new(Code::Internal, "it broke").advise("mend it"));
        assert_eq!(own.advice.as_deref(), Some("mend it"));
    }
}
