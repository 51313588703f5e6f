//! What the roles share.

pub mod certificate_verify;
pub mod channel;
pub mod configuration;
pub mod confinement;
pub mod host;
pub mod logging;
pub mod named_file;
pub mod origin;
pub mod policy;
pub mod shares;
