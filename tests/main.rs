//! Every test of the real binaries, in one binary.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a fixture that fails is a failed test")]

mod host;
mod sim;
mod suites;
