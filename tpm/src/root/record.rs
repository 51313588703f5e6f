//! What is written beside the sealed root secret: nothing secret, all that opening it needs to know.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::key_file::fill_random;
use crate::policy::subject;
use crate::{Evidence, Mode, Policy, SealError};

/// The name the root secret is sealed under; also the name of the systemd credential.
pub const NAME: &str = "reverie-root";

/// Length of the root secret, bytes.
pub const LEN: usize = 32;

pub(crate) const VERSION: u32 = 1;

/// The file `root.cred.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this format.
    pub version: u32,
    /// Always [`NAME`].
    pub name: String,
    /// What `root.cred` is sealed with.
    pub mode: Mode,
    /// The PCRs that were asked for.
    pub policy: Policy,
    /// The PCRs it is bound to, ascending: those asked for, or systemd's default.
    pub bound_pcrs: Vec<u8>,
    /// When it was sealed, RFC 3339, UTC.
    pub created: String,
    /// For telling apart why it cannot be unsealed.
    pub evidence: Evidence,
}

/// The secret that everything else at rest is wrapped by.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RootSecret([u8; LEN]);

impl RootSecret {
    pub(crate) fn generate() -> Result<Self, SealError> {
        let mut secret = Self([0; LEN]);
        fill_random(&mut secret.0)?;
        Ok(secret)
    }

    /// `None` if it is not [`LEN`] bytes long.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self([0; LEN]);
        if bytes.len() != LEN {
            return None;
        }
        secret.0.copy_from_slice(bytes);
        Some(secret)
    }

    /// The bytes, for deriving keys from.
    pub fn expose(&self) -> &[u8; LEN] {
        &self.0
    }
}

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootSecret(..)")
    }
}

/// Something the operator should hear of although it worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Sealed with nothing better than a key file.
    KeyFile {
        /// Each stronger way, and why it could not be had.
        passed_over: Vec<(Mode, String)>,
    },
    /// Sealed with less than the strongest, which is not to be had here.
    PassedOver {
        /// What it is sealed with.
        mode: Mode,
        /// Each stronger way, and why it could not be had.
        passed_over: Vec<(Mode, String)>,
    },
    /// The default binding binds nothing on this machine.
    Unenforced {
        /// The PCRs that were never extended.
        pcrs: Vec<u8>,
    },
    /// An interrupted write was found and completed.
    Completed,
    /// An interrupted write was found, and could not be tidied up.
    NotTidied(String),
}

/// What to say of a new seal that is not the strongest, or not strong at all.
pub(crate) fn passed_over_warning(mode: Mode, passed_over: Vec<(Mode, String)>) -> Option<Warning> {
    match mode {
        Mode::File => Some(Warning::KeyFile { passed_over }),
        _ if passed_over.is_empty() => None,
        _ => Some(Warning::PassedOver { mode, passed_over }),
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile { passed_over } => {
                f.write_str(
                    "THE ROOT SECRET IS PROTECTED BY A KEY FILE ONLY: whoever copies this disk can read every key on it",
                )?;
                for (mode, why) in passed_over {
                    write!(f, "; {mode} was not to be had: {why}")?;
                }
                f.write_str("; once there is a TPM, run \"reverie-agent seal renew --mode tpm2\"")
            }
            Self::PassedOver { mode, passed_over } => {
                write!(f, "the root secret is sealed by {mode} alone")?;
                for (stronger, why) in passed_over {
                    write!(f, "; {stronger} was not to be had: {why}")?;
                }
                f.write_str("; once it is, run \"reverie-agent seal renew\"")
            }
            Self::Unenforced { pcrs } => write!(
                f,
                "{} never been extended on this machine, so the root secret is bound to the TPM but to no boot state",
                subject(pcrs, "has", "have")
            ),
            Self::Completed => f.write_str("writing the root secret had been interrupted; it was found whole and completed"),
            Self::NotTidied(why) => write!(f, "files of an interrupted renewal are still there: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_secret_does_not_show_itself() {
        let secret = RootSecret::from_slice(&[0xa5; LEN]).unwrap();
        assert_eq!(format!("{secret:?}"), "RootSecret(..)");
        assert!(RootSecret::from_slice(&[0xa5; 31]).is_none());
    }

    #[test]
    fn every_stronger_way_that_was_passed_over_is_warned_of() {
        let passed_over = vec![(Mode::HostTpm2, "no TPM".to_owned()), (Mode::Tpm2, "no TPM".to_owned())];
        let text = passed_over_warning(Mode::Host, passed_over.clone()).unwrap().to_string();
        assert!(text.contains("sealed by host alone; host+tpm2 was not to be had: no TPM; tpm2 was not"), "{text}");
        assert!(matches!(passed_over_warning(Mode::File, passed_over), Some(Warning::KeyFile { .. })));
        assert_eq!(passed_over_warning(Mode::HostTpm2, vec![]), None);
        assert!(passed_over_warning(Mode::File, vec![]).is_some());
    }

    #[test]
    fn a_key_file_is_warned_of_loudly_with_the_reasons() {
        let warning = Warning::KeyFile { passed_over: vec![(Mode::Tpm2, "there is no TPM at /dev/tpmrm0".to_owned())] };
        let text = warning.to_string();
        assert!(text.starts_with("THE ROOT SECRET IS PROTECTED BY A KEY FILE ONLY"), "{text}");
        assert!(text.contains("tpm2 was not to be had: there is no TPM at /dev/tpmrm0"), "{text}");
    }
}
