//! What a token can allow: a thing, a verb, a name.

use std::fmt;
use std::str::FromStr;

use crate::id::{IdentityName, SecretName};

/// One operation a token allows: `cert rotate web`, `secret read db-password`; `*` for every name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// `cert` or `secret`.
    pub thing: &'static str,
    /// What may be done with it.
    pub verb: &'static str,
    /// Its name, or `*`.
    pub name: String,
}

/// Every thing and verb there is.
const KNOWN: &[(&str, &str)] = &[("cert", "issue"), ("cert", "read"), ("cert", "rotate"), ("cert", "revoke"), ("secret", "read")];

/// A grant that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an operation: write \"cert issue|read|rotate|revoke IDENTITY\" or \"secret read NAME\", with \"*\" for every name"
)]
pub struct InvalidGrant(String);

impl Grant {
    /// A grant for one known operation.
    pub fn new(thing: &'static str, verb: &'static str, name: impl fmt::Display) -> Self {
        Self { thing, verb, name: name.to_string() }
    }
}

impl FromStr for Grant {
    type Err = InvalidGrant;
    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let refuse = || InvalidGrant(text.chars().take(128).collect());
        let mut words = text.split_ascii_whitespace();
        let (Some(thing), Some(verb), Some(name), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(refuse());
        };
        let &(thing, verb) = KNOWN.iter().find(|known| **known == (thing, verb)).ok_or_else(refuse)?;
        let named = match thing {
            "secret" => name.parse::<SecretName>().is_ok(),
            _ => name.parse::<IdentityName>().is_ok(),
        };
        if name != "*" && !named {
            return Err(refuse());
        }
        Ok(Self { thing, verb, name: name.to_owned() })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.thing, self.verb, self.name)
    }
}
