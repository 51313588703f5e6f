//! Both backends against each other and against known answers; envelopes and messages under attack.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod backends;
mod corpora;
mod envelope;
mod hosts;
mod known_answers;
mod message;
mod records;
mod rfc9936;
mod tree;
mod vectors;
