//! OAuth clients, which every host is to know: provisioned here, waited for there.

use std::time::Duration;

use minicbor::{Decode, Encode};
use reverie_core::api::admin::Health;
use reverie_core::api::mesh::ClientRequest;
use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Kind, Outcome, Subject};
use reverie_core::ipc::net::Reply as NetReply;
use reverie_core::mesh::collection::Collection;

use super::writing::{self, Draft};
use super::{Keeper, MeshError, MeshState};
use crate::keeper::local::answer::{Answer, Failure, Reply};
use crate::keeper::local::call::Call;
use crate::keeper::state::Change;

/// Bytes of a client's id.
const MAX_ID: usize = 128;
/// Bytes of its name for people.
const MAX_NAME: usize = 200;

/// `clients/<client_id>`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Client {
    /// For people.
    #[n(0)]
    pub display_name: Option<String>,
}

fn id_of(call: &Call<'_>) -> Result<String, Failure> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':');
    match !call.name.is_empty() && call.name.len() <= MAX_ID && call.name.bytes().all(fits) {
        true => Ok(call.name.clone()),
        false => {
            let message = format!("a client's id has 1 to {MAX_ID} letters, digits, '.', '-', '_', '~' or ':'");
            Err(Problem::new(Code::BadRequest, message).into())
        }
    }
}

/// Clients are an authority's to change.
pub(super) fn require_authority(keeper: &Keeper) -> Result<(), Failure> {
    match keeper.mesh.state() {
        MeshState::Authority => Ok(()),
        MeshState::Member => {
            let authorities =
                keeper.mesh.look(|view| view.authorities().into_iter().map(ToString::to_string).collect::<Vec<_>>());
            let names = authorities.unwrap_or_default().join(", ");
            Err(Problem::new(Code::Unavailable, "this host is a member, and only an authority changes clients")
                .advise(format!("do it on one of: {names}"))
                .into())
        }
        MeshState::Cloned => Err(MeshError::Cloned.into()),
        state => Err(Problem::new(Code::Unavailable, format!("this host is in no mesh (it is {:?})", state.as_str()))
            .advise("`agentctl mesh init` founds one, `agentctl mesh join` joins one")
            .into()),
    }
}

/// `PUT /api/admin/clients/{id}`.
pub async fn put(call: &Call<'_>) -> Answer {
    let id = id_of(call)?;
    let request: ClientRequest = call.json().await?;
    if request.display_name.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
        return Err(Problem::new(Code::BadRequest, format!("`display_name` has at most {MAX_NAME} bytes")).into());
    }
    require_authority(call.keeper)?;
    let client = Client { display_name: request.display_name.clone() };
    let draft = Draft::put(Collection::Clients, id.as_str(), &client)?;
    let event = call.event(Kind::ClientChanged, Outcome::Done, subject(&id));
    writing::write(call.keeper, vec![draft], Change { writes: vec![], events: vec![event] }).await?;
    Reply::json(&Health { ok: true, why: None })
}

/// `DELETE /api/admin/clients/{id}`.
pub async fn remove(call: &Call<'_>) -> Answer {
    let id = id_of(call)?;
    require_authority(call.keeper)?;
    if !call.keeper.mesh.look(|view| view.get(Collection::Clients, &id).is_some()).unwrap_or_default() {
        return Err(Problem::new(Code::NotFound, format!("there is no client {id:?}")).into());
    }
    let event = call.event(Kind::ClientRemoved, Outcome::Done, subject(&id));
    let draft = Draft::withdraw(Collection::Clients, id.as_str());
    writing::write(call.keeper, vec![draft], Change { writes: vec![], events: vec![event] }).await?;
    Reply::json(&Health { ok: true, why: None })
}

fn subject(id: &str) -> Subject {
    Subject { object: Some(id.to_owned()), ..Subject::default() }
}

/// Until the client is in the view, or the time is over.
pub(super) async fn wait_for(keeper: &Keeper, id: &str, timeout: Duration) -> NetReply {
    let mut changes = keeper.mesh.watch();
    let there = async {
        loop {
            changes.mark_unchanged();
            if keeper.mesh.look(|view| view.get(Collection::Clients, id).is_some()).unwrap_or_default() {
                return true;
            }
            if changes.changed().await.is_err() {
                return false;
            }
        }
    };
    NetReply::Client { found: tokio::time::timeout(timeout, there).await.unwrap_or_default() }
}
