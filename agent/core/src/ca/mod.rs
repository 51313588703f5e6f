//! The certificate authority's decisions: what a certificate says, and when roots, intermediates and
//! revocation lists are made, take over and retire, and what a host of a mesh may issue. Keys and signing are the keeper's.

mod life;
mod limits;
mod membership;
mod network;
mod template;

pub use life::{
    Authority, Intermediate, Root, Settings, Step, issuing_intermediate, next_wake, signing_root, steps, successor_signs_from,
};
pub use limits::{BadLimits, MAX_ENTRIES, NameConstraints, OutsideLimits, check, check_limits, default_limits, may_issue};
pub use membership::{Membership, Role};
pub use template::{IntermediateTemplate, LeafTemplate, RootTemplate, Serial, TemplateError};
