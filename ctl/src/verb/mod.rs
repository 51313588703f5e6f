//! One file for each verb.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod ca;
pub(crate) mod cert;
pub(crate) mod client;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod identity;
pub(crate) mod init;
pub(crate) mod man;
pub(crate) mod mesh;
pub(crate) mod openapi;
pub(crate) mod secret;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod trust;
pub(crate) mod tunnel;
pub(crate) mod watch;
pub(crate) mod whoami;
