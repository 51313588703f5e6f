//! What can be wrong with the root secret, and what to try.

use std::path::PathBuf;

use crate::policy::named;
use crate::{Mode, SealError};

/// Why the root secret was not made, opened or renewed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// One is there.
    #[error("there is a root secret in {} already; it is not replaced, since all that it protects would be lost", .dir.display())]
    AlreadyThere {
        /// Its directory.
        dir: PathBuf,
    },
    /// None is there.
    #[error("there is no root secret in {}; start the agent once to make one, or restore root.cred and root.cred.json", .dir.display())]
    Absent {
        /// Its directory.
        dir: PathBuf,
    },
    /// The record is there, the sealed secret is not.
    #[error("{} is missing though {there} is there; restore it from a backup: none is made anew, since all that it protects would be lost", .path.display())]
    SecretMissing {
        /// `root.cred`.
        path: PathBuf,
        /// What shows that it was there.
        there: &'static str,
    },
    /// The sealed secret is there, its record is not.
    #[error(
        "{} is {state}; restore it from a backup, or, if root.cred is intact, have it written anew by \"reverie-agent seal adopt \
         --mode MODE --dir {}\" with the mode it was sealed with", .path.display(), .path.parent().unwrap_or(.path).display()
    )]
    RecordLost {
        /// `root.cred.json`.
        path: PathBuf,
        /// `missing`, or what is wrong with it.
        state: String,
    },
    /// The two do not belong together.
    #[error(
        "{} is damaged: it is not what root.cred.json describes; restore it from a backup (if root.cred.json was changed \
         instead, restore that)", .path.display()
    )]
    SecretDamaged {
        /// `root.cred`.
        path: PathBuf,
    },
    /// Configured otherwise than sealed.
    #[error(
        "the root secret is sealed with {recorded}, but {asked} is configured; run \"reverie-agent seal renew --mode {asked}\", or configure {recorded} or auto"
    )]
    OtherMode {
        /// As sealed.
        recorded: Mode,
        /// As configured.
        asked: Mode,
    },
    /// What it is sealed with is not to be had.
    #[error("the root secret is sealed with {mode}, which is not to be had here: {source}. Nothing weaker was tried")]
    Unavailable {
        /// As sealed.
        mode: Mode,
        /// Why not.
        source: SealError,
    },
    /// A step down in strength.
    #[error("renewing from {from} to {to} would protect the root secret less; if that is meant, say so with --allow-weaker")]
    WeakerMode {
        /// As sealed.
        from: Mode,
        /// As asked.
        to: Mode,
    },
    /// Fewer PCRs.
    #[error("renewing would no longer bind the root secret to {}; if that is meant, say so with --allow-weaker", named(.dropped))]
    WeakerPolicy {
        /// The PCRs no longer bound.
        dropped: Vec<u8>,
    },
    /// What was sealed does not come back.
    #[error(
        "what {mode} sealed just now did not come back the same when unsealed; nothing was replaced; try again, or choose another mode"
    )]
    NotVerified {
        /// What sealed it.
        mode: Mode,
    },
    /// Not a root secret.
    #[error("{what} holds {len} bytes where a root secret has 32; restore it from a backup")]
    WrongLength {
        /// Where it was.
        what: String,
        /// Its length, bytes.
        len: usize,
    },
    /// systemd did not hand it over.
    #[error("systemd handed over no credential {}; put \"LoadCredentialEncrypted=reverie-root:…/root.cred\" into the unit", .path.display())]
    NotHandedOver {
        /// Where it should be.
        path: PathBuf,
    },
    /// Others could exchange the files.
    #[error("{} can be written by others (mode {mode:04o}), who could exchange the root secret; run \"chmod go-w\" on it", .dir.display())]
    UnsafeDirectory {
        /// The directory.
        dir: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another process holds the lock.
    #[error("another process is working on the root secret in {}; wait until it is done, then try again", .dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// Sealing or unsealing failed.
    #[error("the root secret: {0}")]
    Seal(#[from] SealError),
}
