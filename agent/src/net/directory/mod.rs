//! What is asked of a directory by LDAP. Always over TLS: what it says decides who may speak to us.

mod connection;
pub mod topology;
