//! Sealing against a software TPM and the real systemd-creds.

mod handling;
mod host_key;
mod key_file;
mod refusals;
mod rig;
mod root;
mod root_strength;
mod swtpm;
mod traps;
