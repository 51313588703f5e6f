//! The mesh: what hosts agree on, and how, without a server.
//!
//! | room | what is decided there |
//! |---|---|
//! | [`record`] | one signed statement of one author |
//! | [`vector`] | how far a host has heard each author |
//! | [`collection`] | the kinds of statements, and what each says |
//! | [`crypto`] | the primitives the mesh needs, as traits |
//! | [`round`] | when to talk to whom |

pub mod collection;
pub mod crypto;
pub mod record;
pub mod round;
pub mod vector;
