//! Keys at rest: one root secret per host, sealed; everything else is wrapped by it.
//!
//! | room | what is in it |
//! |---|---|
//! | [`mode`] | what a secret is sealed with, ordered by strength |
//! | [`policy`] | the PCRs a secret is bound to |
//! | [`seal`] | the trait: seal, unseal, describe |
//! | [`systemd_creds`] | sealing by the program `systemd-creds`: TPM, host key, or both |
//! | [`credential`] | what a sealed credential says about itself without being opened |
//! | [`evidence`] | what is noted at sealing so that a later refusal can name its cause |
//! | [`key_file`] | sealing by a 0600 key file, where there is nothing better |
//! | [`root`] | the root secret on disk: create, open, renew, adopt, describe |
//! | [`error`] | what went wrong, and what to try |
//!
//! Another way to seal (systemd's varlink interface, a TPM library) is another [`Seal`], to be chosen in
//! [`root::Backends`]; the sealed bytes stay a systemd credential, so either can open the other's.

#![forbid(unsafe_code)]

pub mod credential;
mod durable;
pub mod error;
pub mod evidence;
pub mod key_file;
pub mod mode;
pub mod policy;
pub mod root;
pub mod seal;
pub mod systemd_creds;

pub use error::SealError;
pub use evidence::Evidence;
pub use key_file::KeyFile;
pub use mode::{Choice, Mode};
pub use policy::Policy;
pub use seal::{Description, Seal};
pub use systemd_creds::SystemdCreds;
