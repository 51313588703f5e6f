//! The capability token a verb presents: from a file, standard input or the environment, never from an argument.

use std::fmt;
use std::io::Read;
use std::path::Path;

use reverie_core::capability::MAX_TOKEN_BYTES;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

/// The variable that may hold a token.
pub(crate) const VARIABLE: &str = "REVERIE_TOKEN";

/// A token. Whoever has it may use it.
#[derive(Clone)]
pub(crate) struct Token(Zeroizing<String>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// From `file` (`-` is standard input), else from the environment, else none.
    pub(crate) fn find(file: Option<&Path>) -> Result<Option<Self>, Failure> {
        match file {
            Some(path) if path == Path::new("-") => Self::read(std::io::stdin().lock(), "standard input").map(Some),
            Some(path) => {
                let file = std::fs::File::open(path).map_err(|error| Failure::reading(path, &error))?;
                Self::read(file, &path.display().to_string()).map(Some)
            }
            None => match std::env::var(VARIABLE) {
                Ok(text) => Self::checked(Zeroizing::new(text), VARIABLE).map(Some),
                Err(std::env::VarError::NotPresent) => Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => Err(no_token(VARIABLE)),
            },
        }
    }

    /// The same, standard input being the last resort.
    pub(crate) fn require(file: Option<&Path>) -> Result<Self, Failure> {
        match Self::find(file)? {
            Some(token) => Ok(token),
            None => Self::read(std::io::stdin().lock(), "standard input"),
        }
    }

    fn read(source: impl Read, name: &str) -> Result<Self, Failure> {
        let mut text = Zeroizing::new(String::with_capacity(MAX_TOKEN_BYTES + 2));
        let limit = u64::try_from(MAX_TOKEN_BYTES).unwrap_or(u64::MAX) + 2;
        match source.take(limit).read_to_string(&mut text) {
            Ok(_) => Self::checked(text, name),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(no_token(name)),
            Err(error) => Err(Failure::reading(Path::new(name), &error)),
        }
    }

    fn checked(text: Zeroizing<String>, name: &str) -> Result<Self, Failure> {
        let token = text.trim();
        let is_base64 = token.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b));
        match !token.is_empty() && is_base64 && token.len() <= MAX_TOKEN_BYTES {
            true => Ok(Self(Zeroizing::new(token.to_owned()))),
            false => Err(no_token(name)),
        }
    }
}

fn no_token(name: &str) -> Failure {
    Failure::new(Exit::Data, format_args!("what {name} holds is not a capability token")).advise(format_args!(
        "give one as `agentctl token mint` prints it, with --token-file FILE, on standard input or in {VARIABLE}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown_by_debug() {
        let token = Token::read(&b"c2VjcmV0\n"[..], "x").unwrap();
        assert_eq!((token.as_str(), format!("{token:?}").as_str()), ("c2VjcmV0", "Token"));
    }

    #[test]
    fn what_could_break_out_of_a_header_is_no_token() {
        for bad in ["", "a b", "a\r\nHost: x", &"A".repeat(MAX_TOKEN_BYTES + 1)] {
            assert!(Token::read(bad.as_bytes(), "x").is_err(), "{bad:?}");
        }
    }
}
