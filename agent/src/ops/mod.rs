//! What the roles share.

pub mod channel;
