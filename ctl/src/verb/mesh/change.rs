//! What changes the mesh.

use reverie_core::api::Operation;
use reverie_core::api::mesh::{InitRequest, JoinRequest, MeshStatus, NodeRequest, RotateRequest};
use reverie_core::id::{NodeId, TrustDomain};
use reverie_core::mesh::collection::Standing;

use super::limits;
use super::view::short;
use crate::cli::Session;
use crate::client::Call;
use crate::failure::{Failure, Outcome};
use crate::screen::{counted, plain};
use crate::secret_input;

/// What can be rotated.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Rotation {
    /// What seals secrets that every host must read; on an authority
    WrappingKey,
    /// This host's signing and KEM keys
    HostKeys,
}

pub(super) async fn init(session: &Session, trust_domain: Option<TrustDomain>) -> Outcome {
    let request = InitRequest { trust_domain: trust_domain.map(|domain| domain.to_string()) };
    let status: MeshStatus = session.client.call(Call::of(Operation::InitMesh).body(&request)?).await?;
    session.screen.show(&status, |status| {
        format!(
            "founded the mesh {} of {}; {} is its first authority\n",
            name(status),
            plain(&status.trust_domain),
            status.node_id
        )
    })?;
    session.screen.note("Next, for each further host: agentctl mesh invite NODE");
    Ok(0)
}

pub(super) async fn join(session: &Session, address: String, kerberos: bool) -> Outcome {
    let token = match kerberos {
        true => None,
        false => Some(secret_input::line(
            "Token: ",
            "the token",
            "paste the line that `agentctl mesh invite` printed, or say --kerberos",
        )?),
    };
    let request = JoinRequest { address, token: token.map(|token| (*token).clone()) };
    let status: MeshStatus = session.client.call(Call::of(Operation::JoinMesh).body(&request)?).await?;
    session.screen.show(&status, |status| {
        let hosts = counted(status.hosts.len() as u64, "host", "hosts");
        format!("{} is in the mesh {} of {}: {hosts}\n", status.node_id, name(status), plain(&status.trust_domain))
    })
}

pub(super) async fn promote(session: &Session, node: NodeId) -> Outcome {
    let status = told(session, Operation::Promote, &node, None).await?;
    session.screen.show(&status, |status| match standing(status, &node) {
        Some(Standing::Authority) => format!("{node} is an authority\n"),
        _ => format!("{node} becomes an authority as soon as it hears of it\n"),
    })
}

pub(super) async fn evict(session: &Session, node: NodeId, reason: Option<String>) -> Outcome {
    let status = told(session, Operation::Evict, &node, reason).await?;
    session.screen.show(&status, |status| {
        let left = status.hosts.iter().filter(|host| host.standing.is_some()).count();
        format!("{node} is out; {} left\n", counted(left as u64, "host is", "hosts are"))
    })
}

pub(super) async fn leave(session: &Session) -> Outcome {
    let status: MeshStatus = session.client.call(Call::of(Operation::LeaveMesh)).await?;
    session.screen.show(&status, |status| format!("{} has left the mesh\n", status.node_id))
}

pub(super) async fn rotate(session: &Session, what: Rotation) -> Outcome {
    let request = match what {
        Rotation::WrappingKey => RotateRequest::WrappingKey,
        Rotation::HostKeys => RotateRequest::HostKeys,
    };
    let status: MeshStatus = session.client.call(Call::of(Operation::RotateMesh).body(&request)?).await?;
    session.screen.show(&status, |status| match what {
        Rotation::WrappingKey => match status.newest_wrapping_key {
            Some(version) => {
                format!("the wrapping key is now version {version}; every host pulls it, the old one stays until all have it\n")
            }
            None => "the wrapping key is being rotated\n".to_owned(),
        },
        Rotation::HostKeys => {
            let own = status.hosts.iter().find(|host| host.node_id == status.node_id);
            let kid = own
                .and_then(|own| own.signing_kid.as_deref())
                .map_or_else(|| "the one before".to_owned(), |kid| format!("key {}", short(kid)));
            format!(
                "{} signs with its next key from now on, and speaks with {kid} until every host knows the next\n",
                status.node_id
            )
        }
    })
}

pub(super) async fn resume(session: &Session) -> Outcome {
    let status: MeshStatus = session.client.call(Call::of(Operation::ResumeMesh)).await?;
    session.screen.show(&status, |status| format!("{} writes again, in a new epoch\n", status.node_id))
}

pub(super) async fn limits(session: &Session, node: NodeId, limits: limits::Limits) -> Outcome {
    let limits = limits.complete_for(&node);
    let call = Call::of(Operation::SetIssuingLimits).named(node.as_str()).body(&limits)?;
    let status: MeshStatus = session.client.call(call).await?;
    session.screen.show(&status, |_| format!("{node} may issue: {}\n", plain(&limits::describe(&limits))))
}

async fn told(session: &Session, operation: Operation, node: &NodeId, reason: Option<String>) -> Result<MeshStatus, Failure> {
    let request = NodeRequest { node_id: node.clone(), reason };
    session.client.call(Call::of(operation).body(&request)?).await
}

fn standing(status: &MeshStatus, node: &NodeId) -> Option<Standing> {
    status.hosts.iter().find(|host| host.node_id == *node)?.standing
}

fn name(status: &MeshStatus) -> String {
    status.mesh.as_deref().map_or_else(|| "-".to_owned(), short)
}
