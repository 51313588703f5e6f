//! What goes wrong: what happened, then what to try.

use std::path::PathBuf;

use reverie_core::ca::Serial;

/// Why the state cannot be opened. The agent ends with exit code 74 (`EX_IOERR`).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not fit to hold keys.
    #[error("{path}: {what}; {remedy}")]
    Unfit {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to try.
        remedy: String,
    },
    /// Another process has it open.
    #[error(
        "{path} is in use by another reverie-agent; stop that one first (`systemctl stop reverie-agent`, or `fuser -v {path}` names it)"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The store is whole, but was made under another root secret.
    #[error(
        "{path} was sealed under another root secret than this host now unseals; put back the credential that belongs to it, \
         or restore a backup of both; nothing was changed"
    )]
    WrongSecret {
        /// The store.
        path: PathBuf,
    },
    /// The store cannot be trusted.
    #[error(
        "{path} is damaged: {what}; {kept}restore {path} from a backup, or, to start over with new keys and an empty \
             audit log, move the whole directory away"
    )]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What was found.
        what: String,
        /// Where a copy was kept, as the beginning of a sentence; empty if there is none.
        kept: String,
    },
    /// There was a store here once.
    #[error(
        "{path} is missing, but {trace} shows that there was one; restore it from a backup, or, to start over with new keys \
         and an empty audit log, move the whole directory away"
    )]
    Missing {
        /// Where the store should be.
        path: PathBuf,
        /// What shows it.
        trace: PathBuf,
    },
    /// A later version wrote it.
    #[error("{path} was written by a newer version (format {found}, this one knows {known}); install that version again")]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The system refused something.
    #[error("cannot {doing} {path}: {source}; check the disk (`df`, `dmesg`), the permissions and that it is mounted writable")]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Why a change was not made, or something could not be read. A change that fails leaves nothing behind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Too much is queued.
    #[error("the store is busy: no place in its queue for {waited_ms} ms; try again, and look at the disk if it lasts")]
    Busy {
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// [`super::State::close`] was called.
    #[error("the store is closed: the agent is stopping; try again once it runs")]
    Closed,
    /// A bound was exceeded.
    #[error("{what} is larger than {limit}; make it smaller")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The bound, in bytes or pieces.
        limit: usize,
    },
    /// No such certificate.
    #[error("no certificate with serial {0} is on record; `agentctl cert list` shows those that are")]
    UnknownSerial(Serial),
    /// A serial cannot be used twice.
    #[error("a certificate with serial {0} is already on record; issue with a fresh serial")]
    DuplicateSerial(Serial),
    /// Nothing is done that cannot be recorded.
    #[error(
        "the audit log cannot be written ({why}), so nothing is issued or changed; free space there or make it writable, the agent goes on by itself"
    )]
    AuditUnwritable {
        /// Why.
        why: String,
    },
    /// The disk failed. The store is reopened by itself once the disk works.
    #[error("the store cannot be written or read ({why}); free space or make the disk writable, the agent goes on by itself")]
    Unavailable {
        /// Why.
        why: String,
    },
    /// The disk failed while the change was being made durable.
    #[error(
        "the disk failed while the change was being recorded ({why}), so it is not certain that it was; check the disk, look \
         whether it was made (`agentctl audit tail`), then repeat it if not"
    )]
    InDoubt {
        /// Why.
        why: String,
    },
    /// Something in the store is not what was written.
    #[error("the store is damaged ({what}); stop the agent, restore the store from a backup, and start it")]
    Damaged {
        /// What.
        what: String,
    },
}

/// A failure within the store; whether it is the disk's or the content's.
#[derive(Debug)]
pub(super) enum Fault {
    /// redb or the system below it; the store must be reopened.
    Storage(redb::Error),
    /// A row that does not decrypt or decode.
    Content(String),
    /// A refusal that concerns one change alone.
    Refused(StateError),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Storage(error.into())
    }
}

impl From<Fault> for StateError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Storage(redb::Error::Corrupted(what)) => Self::Damaged { what },
            Fault::Storage(error) => Self::Unavailable { why: error.to_string() },
            Fault::Content(what) => Self::Damaged { what },
            Fault::Refused(error) => error,
        }
    }
}
