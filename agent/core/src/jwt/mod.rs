//! Signed tokens: which keys sign them and for how long, what the SPIFFE ones say, and what makes one count.
//!
//! The shell signs and verifies signatures; what a token may say is decided here.

mod claims;
mod jwk;
mod keys;
mod verdict;

pub use claims::{Audience, InvalidAudience, Lifetime, MAX_AUDIENCES, SvidClaims};
pub use jwk::{jwk, jwk_set};
pub use keys::{KeyRecord, MAX_TOKEN_TTL, Purpose, Step, signing, steps};
pub use verdict::{Header, Rejected, header, judge};

/// Bytes of a token that is looked at.
pub const MAX_TOKEN: usize = 8 << 10;
