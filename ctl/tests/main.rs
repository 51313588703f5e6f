//! `agentctl` as people see it: every verb, every error, against a small fake agent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod agent;
mod answers;
mod attacks;
mod audit;
mod bench;
mod envelope;
mod errors;
mod files;
mod golden;
mod help;
mod mesh;
mod tokens;
mod transcript;
mod verbs;
