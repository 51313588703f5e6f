//! Tokens of workloads: JWT-SVIDs and WIT-SVIDs, signed by this host's own keys, which other hosts learn through the mesh.

mod issue;
mod keys;
mod trust;
mod validate;

pub use issue::{jwt_svid, wit_svid};
pub use keys::{TokenKey, TokenKeyError, TokenKeys, bring_up_to_date, run};
pub use trust::{jwk_sets, public_keys};
pub use validate::validate;
