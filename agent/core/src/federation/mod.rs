//! Trust bundles of other trust domains: how one is written and read (SPIFFE Trust Domain and Bundle §4), and when it is
//! fetched again (SPIFFE Federation §4).

mod document;
mod schedule;

pub use document::{BundleKeys, ForeignBundle, InvalidBundle, MAX_DOCUMENT, own_document};
pub use schedule::{FIRST_RETRY, next_fetch};
