//! The root secret as systemd hands it over: already unsealed, in the unit's credentials directory.

use std::path::Path;

use super::error::RootError;
use super::record::{LEN, NAME, Record, RootSecret, VERSION};
use crate::SealError;
use crate::durable::read_bounded;

/// Reads `reverie-root` in `dir`, which is `$CREDENTIALS_DIRECTORY`. It must be exactly 32 bytes.
pub fn from_systemd_credential(dir: &Path) -> Result<RootSecret, RootError> {
    let path = dir.join(NAME);
    let wrong_length = |len| RootError::WrongLength { what: path.display().to_string(), len };
    let bytes = match read_bounded(&path, "the credential", LEN) {
        Ok(bytes) => bytes.ok_or_else(|| RootError::NotHandedOver { path: path.clone() })?,
        Err(SealError::TooLong { len, .. }) => return Err(wrong_length(len)),
        Err(error) => return Err(error.into()),
    };
    RootSecret::from_slice(&bytes).ok_or_else(|| wrong_length(bytes.len()))
}

/// Name of the credential that holds the [`Record`], which is no secret.
const RECORD: &str = "reverie-root.json";
/// A longer one is none.
const MAX_RECORD: usize = 64 * 1024;

/// How the secret was sealed, where the unit hands that over too. What cannot be read is not known.
pub fn record_from_systemd(dir: &Path) -> Option<Record> {
    let bytes = read_bounded(&dir.join(RECORD), "the record", MAX_RECORD).ok().flatten()?;
    serde_json::from_slice(&bytes).ok().filter(|record: &Record| record.name == NAME && record.version == VERSION)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_credential_of_exactly_32_bytes_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), [7; LEN]).unwrap();
        assert_eq!(from_systemd_credential(dir.path()).unwrap().expose(), &[7; LEN]);
    }

    #[test]
    fn a_credential_of_another_length_or_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = || from_systemd_credential(dir.path()).unwrap_err().to_string();
        assert!(error().contains("LoadCredentialEncrypted=reverie-root"), "{}", error());
        for len in [0, 31, 33, 100_000] {
            fs::write(dir.path().join(NAME), vec![7; len]).unwrap();
            assert!(error().contains("where a root secret has 32"), "{}", error());
        }
    }

    #[test]
    fn a_credential_that_is_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("elsewhere"), [7; LEN]).unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join(NAME)).unwrap();
        assert!(from_systemd_credential(dir.path()).is_err());
    }
}
