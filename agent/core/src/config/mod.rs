//! The configuration: what a file may say, and how files become one [`Config`].
//!
//! Strict: an unknown key, a wrong type or a broken rule is an error with file, line and column.
//! Files are read by the shell; user and group names stay names here, since looking them up is I/O.

mod error;
mod federation;
mod gossip;
mod identity;
mod merge;
pub mod pkcs12;
mod settings;
mod tunnel;

pub use error::{ConfigError, Place};
pub use federation::{Federation, HttpsUrl, Profile};
pub use gossip::{Gossip, PORT as GOSSIP_PORT, is_host_and_port};
pub use identity::{FileRule, Identity, KeyType, Match, Reload, Secret, Verify};
pub use merge::{Source, parse};
pub use settings::{Admin, Audit, Ca, Config, Limits, Log, Paths, Seal, SealMode, View};
pub use tunnel::{Accept, Connect, KeyExchange, MAX_TUNNELS, PeerPattern, Tunnel};

/// The JSON schema of the main file, for editors and for `agentctl config schema`.
pub fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(settings::MainFile)).unwrap_or_default()
}
