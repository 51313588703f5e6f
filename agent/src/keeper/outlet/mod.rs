//! Outlets: each renders the same generation, none decides.

mod content;
pub mod credentials;
mod der;
pub mod files;
pub mod grpc;
mod pins;
mod pkcs12;
pub mod tunnel;
pub mod view;

pub use pins::Pins;
