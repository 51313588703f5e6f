//! What the kernel tells and what it lets us ask, in small safe wrappers.
//!
//! The only `unsafe` of the agent lives here; everything that `nix` or `rustix` already wraps goes through them.
//!
//! | room | what for |
//! |---|---|
//! | [`peer`] | who connected to a unix socket: `SO_PEERCRED`, `SO_PEERPIDFD`, `SO_PEERGROUPS` |
//! | [`pidfd`] | a handle on one process that a recycled pid cannot forge |
//! | [`sealed`] | bytes that nobody can change any more |
//! | [`seqpacket`] | messages with descriptors between the roles |
//! | [`gss`] | Kerberos credentials out of a keytab |
//! | [`process`] | hardening of the own process: core dumps, locked memory, privileges |

pub mod gss;
pub mod hostname;
pub mod peer;
pub mod pidfd;
pub mod process;
pub mod sealed;
pub mod seqpacket;
