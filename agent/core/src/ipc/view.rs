//! View → keeper: what a process may see, and the bytes of one file for it. The pidfd of the process travels with each request;
//! the keeper attests it anew each time, whatever the view says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::view::{Sight, ViewedFile};

/// What the view asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What is there for the process behind the pidfd?
    Look(Reader),
    /// The bytes of a file, for it.
    Open(Reader, ViewedFile),
    /// What is the same for every reader, as soon as it is not what the view has; without a pidfd. Answered after [`HELD`] at the
    /// latest.
    Shared {
        /// Its digest, if the view has any.
        known: Option<String>,
        /// For the metrics.
        did: Did,
    },
}

/// How long a question for what is the same for all is held back while nothing changes.
pub const HELD: Duration = Duration::from_secs(5);

/// What the view did without asking, since it said so last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Did {
    /// Questions it answered by what a process was shown a moment ago.
    pub glances: u64,
    /// Files it opened that are the same for all.
    pub opens: u64,
    /// Requests it refused since one user had too much in work or open.
    pub refused: u64,
}

/// Who the kernel says asks; it must be what the process behind the pidfd is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reader {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What the keeper answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Look`].
    Sight(Sight),
    /// To [`Request::Open`].
    Content(Vec<u8>),
    /// To [`Request::Shared`].
    Shared {
        /// Of all of it.
        digest: String,
        /// The roots to trust, PEM.
        bundle: Vec<u8>,
        /// The revocation lists, PEM.
        lists: Vec<u8>,
    },
    /// The same: it is what the view has.
    Unchanged,
    /// There is no such file for it.
    Nothing,
    /// Not now.
    Busy,
    /// It could not be done; the keeper's log says why.
    Failed,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sight(sight) => sight.fmt(f),
            Self::Content(bytes) => write!(f, "Content({} bytes)", bytes.len()),
            Self::Shared { digest, .. } => write!(f, "Shared({digest})"),
            Self::Unchanged => f.write_str("Unchanged"),
            Self::Nothing => f.write_str("Nothing"),
            Self::Busy => f.write_str("Busy"),
            Self::Failed => f.write_str("Failed"),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Self::Content(bytes) = self {
            zeroize::Zeroize::zeroize(bytes);
        }
    }
}
