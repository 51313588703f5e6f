//! How the PKCS#12 file of an identity is protected, as the operator declares it.

use serde::{Deserialize, Serialize};

use crate::id::SecretName;

/// The PKCS#12 file of an identity (RFC 7292).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawPkcs12", into = "RawPkcs12")]
pub struct Pkcs12 {
    /// Where its password is.
    pub password: Password,
    /// By which algorithms it is protected.
    pub profile: Profile,
}

/// Where a password is: never in the configuration itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// In a declared secret, which the identity's holder may read.
    Secret(SecretName),
    /// In a file, by absolute path.
    File(String),
}

/// By which algorithms a PKCS#12 file is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// PBES2 with AES-256-CBC and PBKDF2 by HMAC-SHA-256 (RFC 8018), MAC by HMAC-SHA-256: Java from 8u301 and 11.0.12 on.
    #[default]
    Modern,
    /// 3DES-CBC and HMAC-SHA-1 (RFC 7292, appendices B and C): for what is older.
    Legacy,
}

/// A `pkcs12` as it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPkcs12 {
    /// The declared secret that holds the password. It must allow this identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<SecretName>,
    /// Absolute path of the file that holds the password, which not everybody may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<String>,
    /// `modern` or `legacy`. Default `modern`.
    profile: Profile,
}

impl TryFrom<RawPkcs12> for Pkcs12 {
    type Error = String;
    fn try_from(raw: RawPkcs12) -> Result<Self, String> {
        let password = match (raw.secret, raw.password_file) {
            (Some(name), None) => Password::Secret(name),
            (None, Some(path)) if path.starts_with('/') && path.len() < 4096 => Password::File(path),
            (None, Some(_)) => return Err("`password_file` must be an absolute path".to_owned()),
            _ => return Err("`pkcs12` takes one of { secret = \"NAME\" } and { password_file = \"/…\" }".to_owned()),
        };
        Ok(Self { password, profile: raw.profile })
    }
}

impl From<Pkcs12> for RawPkcs12 {
    fn from(Pkcs12 { password, profile }: Pkcs12) -> Self {
        match password {
            Password::Secret(name) => Self { secret: Some(name), password_file: None, profile },
            Password::File(path) => Self { secret: None, password_file: Some(path), profile },
        }
    }
}

/// The shortest and longest password, in characters. Java's own tools take none shorter.
const LENGTH: std::ops::RangeInclusive<usize> = 6..=128;

/// The password in what a secret or file holds: less the line feed that ends a line. Programs do not agree on how other
/// characters than those of ASCII are encoded.
pub fn password(bytes: &[u8]) -> Result<&str, &'static str> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(text) if LENGTH.contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => Ok(text),
        _ => Err("a PKCS#12 password has 6 to 128 printable characters of ASCII, on one line"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_of_ascii_that_every_program_reads_alike() {
        for good in ["changeit", "changeit\n", "changeit\r\n"] {
            assert_eq!(password(good.as_bytes()), Ok("changeit"));
        }
        for bad in ["", "\n", "short", "two\nlines", "umlaut-ä", "nul\0nul", &"x".repeat(129)] {
            assert!(password(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
