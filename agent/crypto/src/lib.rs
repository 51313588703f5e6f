//! The primitives of `reverie_core::mesh::crypto`, twice: [`aws`] for production, [`pure`] with injected randomness for
//! simulation and as a cross-check of the first.
//!
//! | room | what |
//! |---|---|
//! | [`aws`] | aws-lc: what runs |
//! | [`pure`] | RustCrypto: what checks it, and what simulations run on |
//! | [`file`] | keys as people and other tools keep them: PEM of PKCS #8 and SPKI |

#![forbid(unsafe_code)]

pub mod aws;
pub mod file;
mod kem_seed;
mod pkcs8;
pub mod pure;
mod signature;

/// Why bytes are not a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor DER of what was asked for.
    #[error("not a {0}")]
    Form(&'static str),
    /// An ML-KEM key without its seed, which is all that is kept here (RFC 9935 §6).
    #[error(
        "an ML-KEM key in expanded form, without its seed: write it anew with `openssl pkey -provparam ml-kem.output_formats=seed-only`, or make a new one"
    )]
    NoSeed,
    /// The parts of the key do not fit each other.
    #[error("a damaged key: its parts do not fit each other")]
    Damaged,
}

/// A private key shows the name of its public half, and nothing else.
macro_rules! shown_by_name {
    ($($type:ident)*) => { $(
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.public.kid())
            }
        }
    )* };
}
use shown_by_name;
