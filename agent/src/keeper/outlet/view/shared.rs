//! What is the same for every reader: handed to the view when it changes, so that opening it asks nobody.

use reverie_core::ipc::view::{Did, HELD, Reply};

use crate::keeper::Keeper;

/// Answers as soon as there is something else than `known`, and after a while in any case.
pub(super) async fn wait(keeper: &Keeper, known: Option<&str>, did: Did) -> Reply {
    metrics::counter!("reverie_view_glances_total").increment(did.glances);
    metrics::counter!("reverie_view_shared_opens_total").increment(did.opens);
    metrics::counter!("reverie_view_refused_total").increment(did.refused);
    let mut issuers = keeper.watch_issuers();
    let other = issuers.wait_for(|issuers| known != Some(issuers.digest.as_str()));
    let Ok(Ok(issuers)) = tokio::time::timeout(HELD, other).await else { return Reply::Unchanged };
    Reply::Shared {
        digest: issuers.digest.clone(),
        bundle: issuers.bundle_pem.as_bytes().to_vec(),
        lists: issuers.crl_pem.as_bytes().to_vec(),
    }
}
