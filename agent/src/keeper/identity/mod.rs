//! Certificates: [`authority`] signs, [`store`] publishes, [`rotation`] waits, [`settle`] has files and services follow,
//! [`reconcile`] has all of it follow the configuration, and [`lifecycle`] keeps roots and [`lists`] alive.

pub mod authority;
pub mod csr;
pub mod issuance;
pub mod issuers;
pub mod lifecycle;
pub mod lists;
pub mod pruning;
pub mod reconcile;
pub mod replacement;
pub mod revocation;
pub mod rotation;
pub mod schedule;
pub mod service;
pub mod settle;
pub mod store;
pub mod told;
