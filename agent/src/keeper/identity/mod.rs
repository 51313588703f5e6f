//! Certificates: [`authority`] signs, [`store`] publishes, [`rotation`] waits, [`settle`] has files and services follow,
//! [`reconcile`] has all of it follow the configuration, and [`lifecycle`] keeps roots and [`lists`] alive.
//!
//! In a mesh: [`membership`] is this host's side as a member, [`delegation`] its side as an authority, [`trust`] what the
//! mesh says of roots, lists and revocations.

pub mod authority;
pub mod chain;
pub mod csr;
pub mod delegation;
pub mod duties;
pub mod issuance;
pub mod issuers;
pub mod lifecycle;
pub mod lists;
pub mod membership;
pub mod mesh_list;
pub mod pruning;
pub mod reconcile;
pub mod replacement;
pub mod revocation;
pub mod rotation;
pub mod schedule;
pub mod service;
pub mod settle;
pub mod spread;
pub mod store;
pub mod told;
pub mod trust;

#[cfg(test)]
mod across_hosts;
