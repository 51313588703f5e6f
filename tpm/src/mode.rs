//! What a secret is sealed with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a secret is sealed with. The order is by strength, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// A key file beside the data: whoever copies the disk, or is this user, has both.
    #[serde(rename = "file")]
    File,
    /// systemd's host key in `/var/lib/systemd`: readable by root only, but on the same disk.
    #[serde(rename = "host")]
    Host,
    /// The TPM: a copied disk is useless elsewhere.
    #[serde(rename = "tpm2")]
    Tpm2,
    /// The TPM and the host key: neither the disk nor the TPM is enough alone.
    #[serde(rename = "host+tpm2")]
    HostTpm2,
}

impl Mode {
    /// Every mode, strongest first.
    pub const STRONGEST_FIRST: [Self; 4] = [Self::HostTpm2, Self::Tpm2, Self::Host, Self::File];

    /// The word used in configuration, records and `systemd-creds --with-key=`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Host => "host",
            Self::Tpm2 => "tpm2",
            Self::HostTpm2 => "host+tpm2",
        }
    }

    /// Whether a TPM takes part.
    pub const fn uses_tpm(self) -> bool {
        matches!(self, Self::Tpm2 | Self::HostTpm2)
    }

    /// Whether systemd's host key takes part.
    pub const fn uses_host_key(self) -> bool {
        matches!(self, Self::Host | Self::HostTpm2)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a way to seal; write one of \"auto\", \"host+tpm2\", \"tpm2\", \"host\" or \"file\"")]
pub struct InvalidMode(String);

impl FromStr for Mode {
    type Err = InvalidMode;
    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        let found = Self::STRONGEST_FIRST.into_iter().find(|mode| mode.as_str() == text);
        found.ok_or_else(|| InvalidMode(text.chars().take(64).collect()))
    }
}

/// What the operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Choice {
    /// When creating: the strongest that works here. When opening: what the record says, never less.
    #[default]
    Auto,
    /// This one or an error.
    Fixed(Mode),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Fixed(mode) => mode.fmt(f),
        }
    }
}

impl FromStr for Choice {
    type Err = InvalidMode;
    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Fixed) }
    }
}

impl TryFrom<String> for Choice {
    type Error = InvalidMode;
    fn try_from(text: String) -> Result<Self, InvalidMode> {
        text.parse()
    }
}

impl From<Choice> for String {
    fn from(choice: Choice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_ordered_by_strength() {
        assert!(Mode::HostTpm2 > Mode::Tpm2 && Mode::Tpm2 > Mode::Host && Mode::Host > Mode::File);
        assert!(Mode::STRONGEST_FIRST.is_sorted_by(|a, b| a > b));
    }

    #[test]
    fn a_choice_is_written_and_read_as_in_the_configuration() {
        for text in ["auto", "host+tpm2", "tpm2", "host", "file"] {
            let choice: Choice = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
            assert_eq!(serde_json::to_string(&choice).unwrap(), format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Choice>(&format!("{text:?}")).unwrap(), choice);
        }
        for mode in Mode::STRONGEST_FIRST {
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
        }
    }

    #[test]
    fn an_unknown_mode_is_refused_with_the_list_of_known_ones() {
        for bad in ["", "tpm", "TPM2", "auto ", "tpm2-absent", "null"] {
            let error = bad.parse::<Choice>().unwrap_err().to_string();
            assert!(error.contains("\"host+tpm2\""), "{error}");
        }
    }
}
