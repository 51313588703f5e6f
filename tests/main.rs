//! Every test of the real binaries, in one binary.

#![forbid(unsafe_code)]

mod host;
mod suites;
