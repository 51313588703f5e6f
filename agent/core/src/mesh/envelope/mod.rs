//! A message sealed to one host and signed by another: `SignedData(EnvelopedData)` by RFC 5652, RFC 9629 and RFC 9936,
//! as `docs/protocol/mesh.md` lays it down.
//!
//! The types hold the order: a [`Parsed`] message yields nothing that is encrypted before [`Parsed::verify`] has seen the
//! sender's key. Sealing and opening are cut where the secret keys are, so that these can be in another process:
//!
//! | here | where the key is |
//! |---|---|
//! | [`draft`], [`Draft::finish`] | sign [`signed_attributes`] of [`Draft::digest`] |
//! | [`parse`], [`Parsed::verify`], [`Verified::open`] | [`content_key`] |

mod attributes;
mod open;
mod profile;
mod recipient;
mod seal;
pub mod wire;

pub use attributes::signed_attributes;
pub use open::{Outline, Parsed, Verified, outline, parse};
pub use recipient::content_key;
pub use seal::{Draft, draft, seal};

/// Why an envelope is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// More bytes than allowed.
    #[error("the message is larger than this host takes")]
    TooLarge,
    /// The outer structure is not that of an envelope; the text says what is wrong.
    #[error("not an envelope: {0}")]
    Malformed(&'static str),
    /// The signature is not by the key that was pinned, or not over this content.
    #[error("the signature is not by the key pinned for the sender")]
    BadSignature,
    /// Whatever is wrong after the signature was verified. That it is one error is on purpose: the signer must not learn from
    /// answers how what it cannot read decrypts.
    #[error("the message cannot be opened with this host's key")]
    Unopenable,
}
