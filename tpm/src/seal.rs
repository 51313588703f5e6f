//! The one trait that everything sealed goes through.

use zeroize::Zeroizing;

use crate::{Mode, Policy, SealError};

/// The longest secret that is sealed, bytes. (systemd-creds 252 seals 1 MiB and then cannot read it back.)
pub const MAX_SECRET: usize = 64 * 1024;

/// The longest sealed secret that is looked at, bytes.
pub const MAX_SEALED: usize = 256 * 1024;

/// A way to keep a secret at rest.
pub trait Seal: Send + Sync {
    /// Seals `secret` (at most [`MAX_SECRET`] bytes) under `name`, which [`Seal::unseal`] must then be given too.
    fn seal(&self, name: &str, secret: &[u8], policy: &Policy) -> Result<Vec<u8>, SealError>;

    /// Opens what [`Seal::seal`] returned for the same `name`.
    fn unseal(&self, name: &str, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError>;

    /// What protects a secret sealed here.
    fn describe(&self) -> Description;
}

/// What protects a secret, for `status` and `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// What secrets are sealed with.
    pub mode: Mode,
    /// Where that is: the program and TPM device, or the key file.
    pub means: String,
    /// One sentence on who is kept out, and who is not.
    pub protection: &'static str,
}

impl Description {
    pub(crate) fn new(mode: Mode, means: String) -> Self {
        let protection = match mode {
            Mode::HostTpm2 => "A copied disk is useless without this machine's TPM, and the TPM without this disk's host key.",
            Mode::Tpm2 => "A copied disk is useless without this machine's TPM; root on this machine can unseal.",
            Mode::Host => "Other users are kept out; whoever copies the whole disk has the host key too.",
            Mode::File => "Other users are kept out; whoever copies the disk, or runs as the same user, has the secret.",
        };
        Self { mode, means, protection }
    }
}

/// Names are file names that systemd takes as a credential's name.
pub(crate) fn check_name(name: &str) -> Result<(), SealError> {
    let fits = !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if fits { Ok(()) } else { Err(SealError::InvalidName { name: name.chars().take(128).collect() }) }
}

pub(crate) fn check_secret(secret: &[u8]) -> Result<(), SealError> {
    if secret.len() > MAX_SECRET {
        return Err(SealError::TooLong { what: "the secret", len: secret.len(), max: MAX_SECRET });
    }
    Ok(())
}

pub(crate) fn check_sealed(blob: &[u8]) -> Result<(), SealError> {
    if blob.len() > MAX_SEALED {
        return Err(SealError::TooLong { what: "the sealed secret", len: blob.len(), max: MAX_SEALED });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_systemd_would_refuse_or_that_reads_as_an_option_is_refused_first() {
        for bad in ["", "-", "--help", ".", "..", "a/b", "a:b", "a b", "a\0b", "ä", &"x".repeat(129)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name("reverie-root").is_ok());
    }
}
