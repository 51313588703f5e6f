//! The mesh: how it stands, and going on after a restore. What changes membership is in `keeper::mesh`.

use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Kind, Outcome, Subject};

use crate::keeper::local::answer::{Answer, Reply};
use crate::keeper::local::call::Call;
use crate::keeper::mesh::{MeshState, founding, status};
use crate::keeper::state::Change;

/// `GET /api/admin/mesh`.
pub fn show(call: &Call<'_>) -> Answer {
    Reply::json(&status::status(call.keeper))
}

/// `POST /api/admin/mesh/resume`.
pub async fn resume(call: &Call<'_>) -> Answer {
    let keeper = call.keeper;
    if keeper.mesh.state() != MeshState::Cloned {
        let problem = Problem::new(Code::Conflict, "this host was not found to be copied or restored, and writes as it should");
        return Err(problem.advise("`agentctl mesh status` shows how it stands").into());
    }
    let subject = Subject { object: Some(keeper.host.node_id.to_string()), ..Subject::default() };
    let event = call.event(Kind::MeshResumed, Outcome::Done, subject);
    founding::resume(keeper, Change { writes: vec![], events: vec![event] }).await?;
    show(call)
}
