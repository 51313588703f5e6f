//! What went wrong, and what to try.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::Mode;
use crate::policy::{list, named, subject};

/// Why something could not be sealed or unsealed. Each text says what happened, then what to try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Sealed by a TPM other than the one asked.
    #[error(
        "this was sealed by another TPM, or this machine's TPM has been cleared since; put the disk back into the machine \
         that sealed it, or set this host up anew"
    )]
    OtherTpm,
    /// The right TPM, but not the state it was sealed to.
    #[error("{}", other_pcrs(.bound, .changed))]
    OtherPcrs {
        /// The PCRs the secret is bound to.
        bound: Vec<u8>,
        /// Those that differ from the time of sealing, where that is known.
        changed: Vec<u8>,
    },
    /// The TPM does not take the object, and nothing tells whether that is its own fault.
    #[error(
        "the TPM does not accept this: it was sealed by another TPM, this TPM has been cleared, or the sealed bytes are \
         damaged; restore them from a backup, or put the disk back into the machine that sealed them"
    )]
    OtherTpmOrDamaged,
    /// The host key is not the one it was sealed with.
    #[error(
        "this was sealed with another host key; restore the credential.secret in /var/lib/systemd that belongs to this host \
         (and its /etc/machine-id) from a backup"
    )]
    OtherHostKey,
    /// The host key does not fit, or the bytes are damaged.
    #[error(
        "the key does not fit: this was sealed with another host key, or the sealed bytes are damaged; restore them, or \
         /var/lib/systemd/credential.secret, from a backup"
    )]
    OtherHostKeyOrDamaged,
    /// The key file is not the one it was sealed with.
    #[error("this was sealed with another key file than {}; restore the one that belongs to it from a backup", .path.display())]
    OtherKeyFile {
        /// The key file that was tried.
        path: PathBuf,
    },
    /// Sealed under another name.
    #[error("this was sealed under the name {sealed_as:?}, not {expected:?}; a sealed secret cannot be used under another name")]
    OtherName {
        /// The name that was asked for.
        expected: String,
        /// The name it carries.
        sealed_as: String,
    },
    /// Sealed with something else than it should be.
    #[error(
        "this is sealed with {found}, not {expected} as it should be; it is not opened, since it may have been put there by others"
    )]
    OtherMode {
        /// What it is sealed with.
        found: Mode,
        /// What it should be sealed with.
        expected: Mode,
    },
    /// Not what was once written.
    #[error("{what} is damaged: {why}; restore it from a backup")]
    Damaged {
        /// A file, or `the sealed secret`.
        what: String,
        /// How that shows.
        why: String,
    },
    /// No TPM where one is looked for.
    #[error("there is no TPM at {device}; enable it in the firmware, or set tpm2_device to the one to use")]
    TpmAbsent {
        /// Where it was looked for.
        device: String,
    },
    /// The libraries that talk to a TPM are not installed.
    #[error(
        "the TPM's libraries are missing ({detail}); install libtss2-esys, libtss2-rc, libtss2-mu and the libtss2-tcti in use"
    )]
    TpmLibraryAbsent {
        /// The program's own words.
        detail: String,
    },
    /// No program to seal with.
    #[error("{} is not there to seal with; install systemd (Debian 12: package systemd)", .program.display())]
    ProgramAbsent {
        /// Where it was looked for.
        program: PathBuf,
    },
    /// The program did not end in time, and was killed.
    #[error(
        "{} did not {doing} within {} and was stopped; see whether the TPM answers (systemd-creds has-tpm2), then try again",
        .program.display(), humantime::format_duration(*.deadline)
    )]
    Timeout {
        /// The program.
        program: PathBuf,
        /// `seal` or `unseal`.
        doing: &'static str,
        /// How long it was given.
        deadline: Duration,
    },
    /// Refused by permissions.
    #[error("{what} may not be used by this user ({detail}); {remedy}")]
    NotPermitted {
        /// The host key, the TPM device, a file.
        what: String,
        /// The refusal as seen.
        detail: String,
        /// What to try.
        remedy: &'static str,
    },
    /// No host key, or none that can be used.
    #[error("systemd's host key cannot be used ({detail}); make one with \"systemd-creds setup\", or restore it if it is lost")]
    HostKeyUnusable {
        /// The program's own words.
        detail: String,
    },
    /// The PCRs asked for hold nothing.
    #[error(
        "{} never been extended on this machine, so binding to that protects nothing; choose PCRs that the firmware measures into \
         (usually 7), or none", subject(.pcrs, "has", "have")
    )]
    UnenforcedPolicy {
        /// The PCRs asked for.
        pcrs: Vec<u8>,
    },
    /// PCRs without a TPM.
    #[error("{} cannot be bound by sealing with {mode}: that takes a TPM; choose tpm2 or host+tpm2, or bind no PCRs", named(.pcrs))]
    PolicyNeedsTpm {
        /// What was to seal.
        mode: Mode,
        /// The PCRs asked for.
        pcrs: Vec<u8>,
    },
    /// What the program sealed is not what was asked for.
    #[error("{} sealed something else than was asked for ({why}); nothing was written; report this with its version", .program.display())]
    SealedOtherwise {
        /// The program.
        program: PathBuf,
        /// The difference.
        why: String,
    },
    /// A name that is no credential's.
    #[error("{name:?} cannot name a sealed secret; use 1 to 128 letters, digits, '.', '-' and '_', a letter or digit first")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// Over a bound.
    #[error("{what} is too long: {len} bytes where {max} are allowed")]
    TooLong {
        /// The thing.
        what: &'static str,
        /// Its length, bytes; one past the bound if it was not read to its end.
        len: usize,
        /// The bound, bytes.
        max: usize,
    },
    /// A setting that cannot be right.
    #[error("{key} {value:?} {reason}")]
    InvalidSetting {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong and what is allowed, phrased to follow the value.
        reason: &'static str,
    },
    /// The key file is missing.
    #[error("the key file {} is not there; restore it from a backup: without it what it sealed is lost", .path.display())]
    KeyFileAbsent {
        /// Where it should be.
        path: PathBuf,
    },
    /// The key file could be read or replaced by others.
    #[error("the key file {} is not safe: {why}; {remedy}", .path.display())]
    KeyFileUnsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What to try.
        remedy: &'static str,
    },
    /// Anything else that the program said.
    #[error("{} could not {doing}: {said}", .program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// `seal` or `unseal`.
        doing: &'static str,
        /// Its own words, cut to one line.
        said: String,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// The verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SealError {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// Whether this means that a way to seal is not to be had here at all, rather than that it is here and fails.
    pub fn means_unavailable(&self) -> bool {
        matches!(
            self,
            Self::TpmAbsent { .. }
                | Self::TpmLibraryAbsent { .. }
                | Self::ProgramAbsent { .. }
                | Self::NotPermitted { .. }
                | Self::HostKeyUnusable { .. }
        )
    }
}

fn other_pcrs(bound: &[u8], changed: &[u8]) -> String {
    let what = match changed {
        [] => format!("a PCR this is bound to ({}) has", list(bound)),
        known => subject(known, "has", "have"),
    };
    format!(
        "{what} changed since this was sealed (a firmware update, Secure Boot or boot settings); boot the state it was sealed in, \
         then seal it anew for the state to come"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_pcrs_are_named_where_they_are_known() {
        let text = |changed: &[u8]| SealError::OtherPcrs { bound: vec![0, 7], changed: changed.to_vec() }.to_string();
        assert!(text(&[7]).starts_with("PCR 7 has changed since this was sealed"));
        assert!(text(&[0, 7]).starts_with("PCRs 0+7 have changed"));
        assert!(text(&[]).starts_with("a PCR this is bound to (0+7) has changed"));
    }
}
