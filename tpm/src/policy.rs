//! The PCRs a secret is bound to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The highest PCR a TPM 2.0 has to offer (TCG PC Client Platform TPM Profile §4.6).
pub const HIGHEST_PCR: u8 = 23;

/// The platform configuration registers (SHA-256 bank) that must be unchanged for a secret to be unsealed.
///
/// The empty policy asks for nothing: the option is left out and systemd's own default holds, which in 252 is
/// PCR 7 (Secure Boot state); what was bound in the end is read back from the sealed bytes. An empty list is never
/// handed to the program: 252 then seals what nobody can unseal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Policy {
    pcrs: Vec<u8>,
}

/// A PCR that no TPM has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no PCR {0}; a TPM has PCRs 0 to {HIGHEST_PCR}")]
pub struct InvalidPcr(u8);

impl Policy {
    /// Binds to `pcrs`, in any order, repeats allowed.
    pub fn new(pcrs: impl IntoIterator<Item = u8>) -> Result<Self, InvalidPcr> {
        let mut mask = 0u32;
        for pcr in pcrs {
            if pcr > HIGHEST_PCR {
                return Err(InvalidPcr(pcr));
            }
            mask |= 1 << pcr;
        }
        Ok(Self { pcrs: pcrs_of(mask) })
    }

    /// The PCRs, ascending, each once.
    pub fn pcrs(&self) -> &[u8] {
        &self.pcrs
    }

    /// Whether no binding is asked for.
    pub fn is_empty(&self) -> bool {
        self.pcrs.is_empty()
    }
}

/// The PCRs of a bit mask, ascending.
pub(crate) fn pcrs_of(mask: u32) -> Vec<u8> {
    (0..=HIGHEST_PCR).filter(|pcr| mask & (1 << pcr) != 0).collect()
}

/// PCRs as people and `systemd-creds` write them: `0+7`; `none` for the empty list.
pub(crate) fn list(pcrs: &[u8]) -> String {
    if pcrs.is_empty() {
        return "none".to_owned();
    }
    pcrs.iter().map(u8::to_string).collect::<Vec<_>>().join("+")
}

/// `PCR 7` or `PCRs 0+7`.
pub(crate) fn named(pcrs: &[u8]) -> String {
    format!("{} {}", if pcrs.len() == 1 { "PCR" } else { "PCRs" }, list(pcrs))
}

/// [`named`], then the form of a verb that agrees with it.
pub(crate) fn subject(pcrs: &[u8], one: &str, many: &str) -> String {
    format!("{} {}", named(pcrs), if pcrs.len() == 1 { one } else { many })
}

impl TryFrom<Vec<u8>> for Policy {
    type Error = InvalidPcr;
    fn try_from(pcrs: Vec<u8>) -> Result<Self, InvalidPcr> {
        Self::new(pcrs)
    }
}

impl From<Policy> for Vec<u8> {
    fn from(policy: Policy) -> Self {
        policy.pcrs
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&list(&self.pcrs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pcrs_are_sorted_and_counted_once() {
        let policy = Policy::new([7, 0, 7, 23]).unwrap();
        assert_eq!(policy.pcrs(), [0, 7, 23]);
        assert_eq!(policy.to_string(), "0+7+23");
        assert_eq!(Policy::default().to_string(), "none");
    }

    #[test]
    fn a_pcr_that_no_tpm_has_is_refused_from_configuration_too() {
        assert_eq!(Policy::new([24]).unwrap_err().to_string(), "there is no PCR 24; a TPM has PCRs 0 to 23");
        assert!(serde_json::from_str::<Policy>("[0, 255]").is_err());
        assert_eq!(serde_json::from_str::<Policy>("[7, 0, 7]").unwrap().pcrs(), [0, 7]);
    }
}
