//! Founding, joining and leaving a mesh; bringing hosts in and putting them out.

use reverie_core::api::mesh::{InitRequest, InviteRequest, JoinRequest, NodeRequest, RotateRequest};
use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Kind, Outcome, Subject};
use reverie_core::mesh::collection::IssuingLimits;

use zeroize::Zeroize;

use crate::keeper::local::answer::{Answer, Failure, Reply};
use crate::keeper::local::call::Call;
use crate::keeper::mesh::{MeshState, initiation, inviting, joining, membership, status, wrapping};
use crate::keeper::state::Change;

fn shown(call: &Call<'_>) -> Answer {
    Reply::json(&status::status(call.keeper))
}

/// `POST /api/admin/mesh/init`.
pub async fn init(call: &Call<'_>) -> Answer {
    let request: InitRequest = call.json().await?;
    initiation::init(call.keeper, request, call.actor()).await?;
    shown(call)
}

/// `POST /api/admin/mesh/invites`.
pub async fn invite(call: &Call<'_>) -> Answer {
    let request: InviteRequest = call.json().await?;
    invited(call, request, false).await
}

/// `POST /api/admin/mesh/readmit`.
pub async fn readmit(call: &Call<'_>) -> Answer {
    let request: InviteRequest = call.json().await?;
    invited(call, request, true).await
}

async fn invited(call: &Call<'_>, request: InviteRequest, again: bool) -> Answer {
    let mut invited = inviting::invite(call.keeper, request, again, call.actor()).await?;
    let answer = Reply::json(&invited);
    invited.token.zeroize();
    answer
}

/// `POST /api/admin/mesh/join`.
pub async fn join(call: &Call<'_>) -> Answer {
    let request: JoinRequest = call.json().await?;
    joining::join(call.keeper, request, call.actor()).await?;
    shown(call)
}

/// `POST /api/admin/mesh/leave`.
pub async fn leave(call: &Call<'_>) -> Answer {
    membership::leave(call.keeper, call.actor()).await?;
    shown(call)
}

/// `POST /api/admin/mesh/evict`.
pub async fn evict(call: &Call<'_>) -> Answer {
    let request: NodeRequest = call.json().await?;
    membership::evict(call.keeper, request.node_id, request.reason, call.actor()).await?;
    shown(call)
}

/// `POST /api/admin/mesh/promote`.
pub async fn promote(call: &Call<'_>) -> Answer {
    let request: NodeRequest = call.json().await?;
    membership::promote(call.keeper, &request.node_id, call.actor()).await?;
    shown(call)
}

/// `POST /api/admin/mesh/rotate`.
pub async fn rotate(call: &Call<'_>) -> Answer {
    match call.json().await? {
        RotateRequest::WrappingKey => drop(wrapping::rotate(call.keeper, call.actor()).await?),
        RotateRequest::HostKeys => rotate_keys(call).await?,
    }
    shown(call)
}

async fn rotate_keys(call: &Call<'_>) -> Result<(), Failure> {
    let keeper = call.keeper;
    if !matches!(keeper.mesh.state(), MeshState::Member | MeshState::Authority) {
        let problem = Problem::new(Code::Conflict, "this host is in no mesh, so it has no keys there to rotate");
        return Err(problem.advise("agentctl mesh status shows how it stands").into());
    }
    if keeper.mesh.keys().is_some_and(|ring| ring.is_rotating()) {
        let problem =
            Problem::new(Code::Conflict, "the rotation before is not over: not every host is known to know the newest keys");
        return Err(problem.advise("agentctl mesh peers shows who lags behind; evict a host that is lost").into());
    }
    let subject = Subject { object: Some(keeper.host.node_id.to_string()), ..Subject::default() };
    let event = call.event(Kind::KeysRotated, Outcome::Done, subject);
    membership::rotate_keys(keeper, Change { writes: vec![], events: vec![event] }).await?;
    Ok(())
}

/// `PUT /api/admin/mesh/limits/{node}`.
pub async fn set_limits(call: &Call<'_>) -> Answer {
    let node =
        call.name.parse().map_err(|error: reverie_core::id::InvalidName| Problem::new(Code::BadRequest, error.to_string()))?;
    let limits: IssuingLimits = call.json().await?;
    membership::set_limits(call.keeper, &node, limits, call.actor()).await?;
    shown(call)
}
