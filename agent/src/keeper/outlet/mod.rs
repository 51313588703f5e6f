//! Outlets: each renders the same generation, none decides.

pub mod credentials;
mod der;
pub mod files;
mod pkcs12;
pub mod view;
