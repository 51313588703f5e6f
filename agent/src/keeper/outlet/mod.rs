//! Outlets: each renders the same generation, none decides.

pub mod files;
pub mod view;
