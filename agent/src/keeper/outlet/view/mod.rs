//! The file view as the keeper sees it: a role asks on behalf of each reader, and each reader is attested anew.

mod content;
mod link;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use reverie_core::api::Code;
use reverie_core::ipc::view::{Reader, Reply, Request};
use reverie_sys::pidfd::PidFd;

pub use link::{mounter, run};

use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;

/// Answers one question of the role.
async fn answer(keeper: &Arc<Keeper>, request: Request, descriptors: Vec<OwnedFd>) -> Reply {
    let (Request::Look(reader) | Request::Open(reader, _)) = request;
    let answered = match attest(keeper, reader, descriptors).await {
        Ok(peer) => match request {
            Request::Look(_) => content::look(keeper, &peer).await.map(Reply::Sight),
            Request::Open(_, file) => content::open(keeper, &peer, &file).await,
        },
        Err(failure) => Err(failure),
    };
    answered.unwrap_or_else(|Failure(problem)| match problem.code {
        Code::NotPermitted | Code::NotFound | Code::CallerGone => Reply::Nothing,
        Code::TooMany => Reply::Busy,
        _ => {
            tracing::warn!(uid = reader.uid, problem = %problem, "a file of the view could not be shown");
            Reply::Failed
        }
    })
}

async fn attest(keeper: &Arc<Keeper>, reader: Reader, descriptors: Vec<OwnedFd>) -> Result<Peer, Failure> {
    let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| content::nothing("a reader without a pidfd"))?;
    if !keeper.rates.admit(reader.uid, &keeper.policy().config.limits) {
        return Err(content::too_many());
    }
    let pidfd = PidFd::from_received(descriptor).map_err(|_| content::nothing("a reader without a pidfd"))?;
    Peer::of_process(keeper, pidfd, reader.uid, reader.gid).await
}
