//! The mesh: what hosts agree on, and how, without a server.
//!
//! | room | what is decided there |
//! |---|---|
//! | [`record`] | one signed statement of one author |
//! | [`set`] | which statements stand, whoever may say them |
//! | [`members`] | who is in, who is an authority, what of each key counts |
//! | [`view`] | what counts of a set, and what follows from it |
//! | [`author`] | our own writing side |
//! | [`vector`] | how far a host has heard each author |
//! | [`collection`] | the kinds of statements, and what each says |
//! | [`crypto`] | the primitives the mesh needs, as traits |
//! | [`round`] | when to talk to whom |
//! | [`join`] | how a host becomes a member: token, proof, answer |
//! | [`renewal`] | how a member has its intermediate renewed |
//! | [`membership`] | who may bring in, put out and promote whom |
//! | [`wrapping`] | the cluster wrapping key: sealed to a host, old beside new |
//! | [`envelope`] | a message sealed to one host and signed by another |
//! | [`message`] | what is in an envelope |

pub mod author;
pub mod collection;
pub mod crypto;
pub mod envelope;
#[cfg(test)]
mod fake;
pub mod join;
pub mod members;
pub mod membership;
pub mod message;
pub mod record;
pub mod renewal;
pub mod round;
pub mod set;
mod spki;
mod strict;
pub mod vector;
pub mod view;
pub mod wrapping;

#[cfg(test)]
pub(crate) mod tests;
