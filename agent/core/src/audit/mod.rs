//! The audit chain: what an event is, how events are chained, and how damage is located.
//!
//! A line of the log is `{"hash":"…","event":{…}}`. `hash` is SHA-256 over the previous line's hash (32 raw bytes;
//! zeroes before the first) followed by the exact bytes of `event`, so any tool with SHA-256 can check it.

mod chain;
mod denials;
mod event;
mod verify;

pub use chain::{ChainHead, Hash, Line, ParseLineError, SignedHead};
pub use denials::Denials;
pub use event::{Actor, Event, Kind, Outcome, Subject};
pub use verify::{Fault, Report, Verifier};
