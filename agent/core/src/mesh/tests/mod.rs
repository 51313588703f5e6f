//! What the rules are for: attacks, and the laws that make hosts agree. Signatures are those of a double here;
//! `agent/crypto/tests/records.rs` has real ones.

mod attacks;
mod authorship;
mod evictions;
mod floors;
pub(crate) mod kit;
mod laws;
mod lookups;
mod pages;
mod records;
mod shares;
mod stolen;
