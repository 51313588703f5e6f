//! Sealing against a software TPM and the real systemd-creds.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy spares #[test] functions only, not what they call")]

mod front_example;
mod handling;
mod host_key;
mod key_file;
mod refusals;
mod rig;
mod root;
mod root_strength;
mod swtpm;
mod traps;
