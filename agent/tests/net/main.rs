//! The real net role, each in its own confined process, driven by a keeper of this test's with real keys. The clients that
//! attack it share no code with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a fixture that fails is a failed test")]

mod admission;
mod await_client;
mod client;
mod confined;
mod directory;
mod endpoints;
mod envelopes;
mod fixture;
mod flood;
mod handshake;
mod joining;
mod replicating;
