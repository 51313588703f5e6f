//! Keeper ↔ warden: facts about callers, publishing of files, reloading of services.

use serde::{Deserialize, Serialize};

use crate::caller::Executable;

/// What the keeper asks of the warden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Read the facts of the process behind the pidfd that travels with this message.
    Facts {
        /// Also digest the executable. The facts come without a digest if that cannot be done, or not now.
        digest_exe: bool,
    },
    /// Is the process behind the accompanying pidfd alive and still running this file?
    StillRuns {
        /// Device of the file it ran.
        device: u64,
        /// Inode of the file it ran.
        inode: u64,
    },
    /// Make `target` hold exactly these files. Does nothing if it already does.
    Publish(Publication),
    /// Remove `target`, all generations.
    Withdraw(Target),
    /// List the names that exist under a kind, to withdraw what no rule names any more.
    List(TargetKind),
    /// Tell a service to read its files again.
    Reload(Reload),
}

/// What kind of directory entry is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TargetKind {
    /// `certs/<name>/`
    Certificates,
    /// `secrets/<name>/…` rendered as the single file `secrets/<name>`
    Secret,
}

/// One entry of the run directory. The name obeys `IdentityName` / `SecretName`; the warden checks again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Which folder.
    pub kind: TargetKind,
    /// Which entry.
    pub name: String,
}

/// The full content of a target.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// What is replaced.
    pub target: Target,
    /// Owner of the files; `None` leaves the warden's own uid.
    pub uid: Option<u32>,
    /// Group of the files; `None` leaves the warden's own gid.
    pub gid: Option<u32>,
    /// The files, in the order they are written.
    pub files: Vec<File>,
}

/// One file of a publication.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// A plain file name without `/`.
    pub name: String,
    /// Permission bits, at most 0o777.
    pub mode: u32,
    /// The bytes.
    pub content: Vec<u8>,
    /// Digest of what the bytes were made from, where they are salted: new each time, and yet the same.
    pub made_from: Option<[u8; 32]>,
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publication").field("target", &self.target).field("files", &self.files).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:04o}, {} bytes)", self.name, self.mode, self.content.len())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.content);
    }
}

/// How a service learns of new files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reload {
    /// `systemctl reload UNIT` (over D-Bus, allowed by polkit).
    Unit {
        /// The unit.
        unit: String,
        /// Ask the user's own service manager instead of the system's.
        user_manager: bool,
    },
    /// A signal to the process in a pidfile, by pidfd.
    Signal {
        /// Signal number.
        signal: i32,
        /// Absolute path of the pidfile.
        pidfile: String,
        /// The unit the process must belong to; refused otherwise.
        unit: Option<String>,
        /// The uid the process must have, where no unit binds it.
        uid: Option<u32>,
    },
    /// A program with its arguments; no shell, no privileges, killed after the deadline.
    Command {
        /// Absolute path first.
        argv: Vec<String>,
    },
    /// `CONFIG SET tls-cert-file … tls-key-file … tls-ca-cert-file …` over redis's unix socket (redis ignores SIGHUP).
    Redis {
        /// Path of redis's unix socket.
        socket: String,
        /// The identity's directory, so that the paths can be set anew.
        directory: String,
    },
}

/// What the warden answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Facts`]: read while the process was alive, before and after.
    Facts(Facts),
    /// To [`Request::StillRuns`].
    StillRuns(bool),
    /// To [`Request::Publish`]: false if everything was already so.
    Published {
        /// Whether a new generation was swapped in.
        changed: bool,
    },
    /// To [`Request::Withdraw`].
    Withdrawn,
    /// To [`Request::List`].
    Names(Vec<String>),
    /// To [`Request::Reload`]: the service was told.
    Reloaded,
    /// Its unit does not run: there is nothing to tell.
    NotRunning,
    /// The process ended while its facts were read, or before.
    Gone,
    /// It could not be done.
    Failed {
        /// What happened, then what to try.
        message: String,
    },
}

/// What only a privileged reader can see of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The running file; `None` for a process without one (a kernel thread).
    pub exe: Option<Executable>,
    /// cgroup v2 path.
    pub cgroup: Option<String>,
    /// Its ids now. A caller's own are those of `SO_PEERCRED`; these are for `explain`, and to share out digests.
    pub credentials: Credentials,
}

/// Under whose ids a process runs: the effective ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}
