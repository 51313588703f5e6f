//! The primitives of `reverie_core::mesh::crypto`, twice: [`aws`] for production, [`pure`] with injected randomness for
//! simulation and as a cross-check of the first.

#![forbid(unsafe_code)]
