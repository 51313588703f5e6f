//! Capability tokens: Biscuits that *grant* operations to a caller who has none of its own.
//!
//! The authority block, signed by this host, holds facts `right(thing, verb, name)` and the token's end. Whoever holds
//! a token may append blocks that only ever restrict it: facts of appended blocks are not trusted by the policy.
//! Time and randomness are arguments.

mod grant;
mod token;

pub use grant::{Grant, InvalidGrant};
pub use token::{
    Inspection, MAX_TOKEN_BYTES, Presented, Restriction, TokenError, attenuate, authorize, inspect, mint, parse_public_key,
    root_key,
};
