//! What the tests stand on: a real agent in a directory of its own, and a client that shares no code with it.
//!
//! The binaries are those of the same build: `cargo build --workspace --bins` comes first (`make test` does both).

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a fixture that fails is a failed test")]

pub mod agent;
pub mod clock;
pub mod ctl;
pub mod guides;
pub mod http;
pub mod ipa;
pub mod kdc;
pub mod mesh;
pub mod openssl;
pub mod programs;
pub mod sim;
