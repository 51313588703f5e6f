//! Why a process has what it has.

use std::os::fd::AsFd;

use reverie_core::api::admin::ExplainRequest;
use reverie_core::api::{Code, Problem};
use reverie_core::caller::{Caller, Pinning};
use reverie_core::ipc::warden::{Credentials, Reply as WardenReply, Request};
use reverie_core::rule::Explanation;
use reverie_sys::pidfd::PidFd;

use crate::keeper::local::answer::{Answer, Failure, Reply};
use crate::keeper::local::call::Call;
use crate::keeper::roles::FACTS_DEADLINE;

pub async fn explain(call: &Call<'_>) -> Answer {
    let caller = match call.json().await? {
        ExplainRequest { pid: Some(pid), uid: None, gid: None } => running(call, pid).await?,
        ExplainRequest { pid: None, uid: Some(uid), gid } => {
            let imagined = Caller::by_credentials(1, uid, gid.unwrap_or(uid), vec![]);
            Caller { pinning: Pinning::Pidfd, ..imagined }
        }
        _ => return Err(Problem::new(Code::BadRequest, "name either `pid`, or `uid` and perhaps `gid`").into()),
    };
    Reply::json(&Explanation::new(&call.keeper.policy().judge, &caller))
}

/// The facts of a running process. All are the warden's: the keeper's own /proc shows it nobody else's processes. Its ids
/// serve to explain, never to decide.
async fn running(call: &Call<'_>, pid: i32) -> Result<Caller, Failure> {
    let none = || Problem::new(Code::NotFound, format!("there is no process {pid}")).advise("`pidof NAME` finds its number");
    if pid <= 0 {
        return Err(none().into());
    }
    let pidfd = PidFd::open(pid).map_err(|_| none())?;
    let request = Request::Facts { digest_exe: call.keeper.policy().judge.digests_exe() };
    let WardenReply::Facts(facts) = call.keeper.roles.warden(&request, Some(pidfd.as_fd()), FACTS_DEADLINE).await? else {
        return Err(none().into());
    };
    let Credentials { uid, gid, groups } = facts.credentials;
    let pinning = match call.keeper.pidfd_attestation {
        true => Pinning::Pidfd,
        false => Pinning::CredentialsOnly,
    };
    Ok(Caller { pinning, exe: facts.exe, cgroup: facts.cgroup, ..Caller::by_credentials(pid, uid, gid, groups) })
}
