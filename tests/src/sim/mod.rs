//! The mesh in one process: the real round machine (and, where said, the real records) on a network that is made up.
//!
//! Everything follows from the seed. `cargo run --release -p reverie-tests --example sim -- --help` runs it by hand.

#![allow(missing_debug_implementations, reason = "a world of hosts is printed by its seed")]

pub mod chance;
pub mod figures;
pub mod member;
pub mod mesh;
pub mod network;
pub mod replica;
pub mod scenario;
pub mod stand_in;
pub mod traffic;
pub mod world;
