//! What is asked of a directory by LDAP. Always over TLS: what it says decides who may speak to us.

mod asking;
mod connection;
pub mod topology;

pub(super) use asking::run;
