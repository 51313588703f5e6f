//! The administrators' operations.

pub mod audit;
pub mod certificates;
pub mod explain;
pub mod membership;
pub mod mesh;
pub mod secrets;
pub mod status;

use reverie_core::api::{Code, Problem};

use super::local::answer::Failure;
use super::local::call::Call;
use crate::ops::host::own_uid;

/// Root, the agent's own user, and members of the administrators' group: by what the kernel says of the peer, whatever
/// the socket's mode.
pub fn require_admin(call: &Call<'_>) -> Result<(), Failure> {
    let caller = &call.peer.caller;
    let in_group = call.keeper.policy().admin_gid.is_some_and(|gid| caller.is_member_of(gid));
    if !caller.is_unknown() && (caller.uid == 0 || caller.uid == own_uid() || in_group) {
        return Ok(());
    }
    let group = &call.keeper.policy().config.admin.group;
    Err(Problem::new(Code::NotPermitted, format!("uid {} is not an administrator of this agent", caller.uid))
        .advise(format!("use sudo, or have the user added to the group {group:?} and log in again"))
        .into())
}
