//! The file view as the keeper sees it: a role asks on behalf of each reader, and each reader is attested anew.

mod content;
mod link;
mod shared;

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
    let (kind, reader) = match &request {
        Request::Look(reader) => ("look", *reader),
        Request::Open(reader, _) => ("open", *reader),
        Request::Shared { known, did } => return shared::wait(keeper, known.as_deref(), *did).await,
    };
    let reply = answer_reader(keeper, reader, request, descriptors).await;
    let outcome = match &reply {
        Reply::Nothing => "nothing",
        Reply::Busy => "busy",
        Reply::Failed => "failed",
        _ => "shown",
    };
    metrics::counter!("reverie_view_requests_total", "kind" => kind, "outcome" => outcome).increment(1);
    reply
}

async fn answer_reader(keeper: &Arc<Keeper>, reader: Reader, request: Request, descriptors: Vec<OwnedFd>) -> Reply {
    let answered = match attest(keeper, reader, descriptors).await {
        Ok(peer) => match request {
            Request::Open(_, file) => content::open(keeper, &peer, &file).await,
            Request::Look(_) | Request::Shared { .. } => content::look(keeper, &peer).await.map(Reply::Sight),
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
