//! Certificates: [`authority`] signs, [`store`] publishes, [`rotation`] waits, [`lifecycle`] keeps roots and [`lists`] alive.

pub mod authority;
pub mod csr;
pub mod issuance;
pub mod issuers;
pub mod lifecycle;
pub mod lists;
pub mod reload;
pub mod replacement;
pub mod revocation;
pub mod rotation;
pub mod store;
