//! The certificate authority's decisions: what a certificate says, and when roots, intermediates and
//! revocation lists are made, take over and retire. Keys and signing are the keeper's.

mod life;
mod template;

pub use life::{
    Authority, Intermediate, Root, Settings, Step, issuing_intermediate, next_wake, signing_root, steps, successor_signs_from,
};
pub use template::{IntermediateTemplate, LeafTemplate, RootTemplate, Serial, TemplateError};
