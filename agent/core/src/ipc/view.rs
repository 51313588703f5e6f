//! View → keeper: what a process may see, and the bytes of one file for it. The pidfd of the process travels with each request;
//! the keeper attests it anew each time, whatever the view says.

use serde::{Deserialize, Serialize};

use crate::view::{Sight, ViewedFile};

/// What the view asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What is there for the process behind the pidfd?
    Look(Reader),
    /// The bytes of a file, for it.
    Open(Reader, ViewedFile),
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
