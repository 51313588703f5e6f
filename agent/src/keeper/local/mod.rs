//! The local sockets: [`listener`] accepts, [`peer`] attests, [`call`] routes one request to one handler.

pub mod answer;
mod body;
pub mod call;
mod certificates;
pub mod denials;
pub mod identities;
pub mod limits;
pub mod listener;
pub mod peer;
mod secrets;
mod trust;
mod watch;

pub use body::Bodies;
pub(crate) use identities::summary as identity_summary;
pub(crate) use secrets::reply as secret_reply;
