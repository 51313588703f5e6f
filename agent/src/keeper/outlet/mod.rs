//! Outlets: each renders the same generation, none decides.

pub mod files;
