//! gRPC on `workload.sock`: the SPIFFE Workload API and Envoy's secret discovery service.
//!
//! [`connection`] speaks HTTP/2 with one attested process, [`routing`] counts and dispatches its calls; each stream is
//! made as HTTP/2 asks for more of it: it waits for [`changes`] and for [`room`], judges its process again, and only then sends.

mod authority;
mod changes;
mod connection;
mod failure;
mod feed;
mod holdings;
mod room;
mod routing;
mod sds;
mod trust;
mod workload;

use std::sync::Arc;

pub use connection::serve;

use crate::ops::shares::Shares;

/// What all connections have in common.
#[derive(Debug, Default)]
pub struct Outlet {
    /// Calls that are open, by uid.
    calls: Arc<Shares<u32>>,
    /// Of reflection, which asks for no identity: apart.
    reflections: Arc<Shares<u32>>,
    unread: Arc<room::Unread>,
    trust: trust::Rendered,
    keys: workload::keys::Rendered,
}
