//! The process at the other end of a connection, pinned: read once, checked again for every request.

use std::os::fd::{AsFd, BorrowedFd};

use reverie_core::api::{Code, Problem};
use reverie_core::caller::{Caller, Pinning};
use reverie_core::ipc::warden::{Credentials, Facts, Reply, Request};
use reverie_sys::peer::{peer_credentials, peer_groups, peer_pidfd};
use reverie_sys::pidfd::PidFd;

use super::answer::Failure;
use crate::keeper::Keeper;
use crate::keeper::roles::FACTS_DEADLINE;

/// An attested caller, and the kernel's handle on it.
#[derive(Debug)]
pub struct Peer {
    /// What the judge sees.
    pub caller: Caller,
    pidfd: Option<PidFd>,
}

fn gone() -> Failure {
    Problem::new(Code::CallerGone, "the process that connected has ended, or runs another program now")
        .advise("connect again from the process that needs the identity")
        .into()
}

/// Far fewer than all, which others need too.
const DIGESTS_PER_UID: u32 = 8;

fn busy() -> Failure {
    Problem::new(Code::Unavailable, "too many executables are waiting to be digested").into()
}

/// The same with the digest of the executable. One uid has only so many questions at once: it queues behind itself.
async fn digested(keeper: &Keeper, pidfd: &PidFd, uid: u32) -> Result<Facts, Failure> {
    let _share = keeper.roles.digest_shares.take(uid, 1, u32::MAX, DIGESTS_PER_UID).ok_or_else(busy)?;
    let _turn = tokio::time::timeout(FACTS_DEADLINE, keeper.roles.digests.acquire()).await.map_err(|_| busy())?;
    facts(keeper, pidfd, true).await
}

/// Asks the warden.
async fn facts(keeper: &Keeper, pidfd: &PidFd, digest_exe: bool) -> Result<Facts, Failure> {
    match keeper.roles.warden(&Request::Facts { digest_exe }, Some(pidfd.as_fd()), FACTS_DEADLINE).await? {
        Reply::Facts(facts) => Ok(facts),
        _ => Err(gone()),
    }
}

/// The ids stay those of the connection.
fn with_facts(by_credentials: &Caller, facts: Facts) -> Caller {
    Caller { pinning: Pinning::Pidfd, exe: facts.exe, cgroup: facts.cgroup, ..by_credentials.clone() }
}

impl Peer {
    /// Reads who is at the other end of `socket`.
    ///
    /// The pidfd is taken before any fact is read, and must still be alive after: so the facts are of the process that
    /// connected, whatever its number is used for meanwhile. Without one (Linux before 6.5) only uid and gids count.
    pub async fn attest(keeper: &Keeper, socket: BorrowedFd<'_>) -> Result<Self, Failure> {
        let broken =
            |error: std::io::Error| Problem::new(Code::CallerGone, format!("the kernel does not say who this is: {error}"));
        let credentials = peer_credentials(socket).map_err(broken)?;
        let mut groups = peer_groups(socket).map_err(broken)?;
        groups.sort_unstable();
        let (pid, uid, gid) = (credentials.pid, credentials.uid, credentials.gid);
        let by_credentials = Caller::by_credentials(pid, uid, gid, groups);
        let pidfd = match keeper.pidfd_attestation {
            true => peer_pidfd(socket).map_err(|_| gone())?,
            false => None,
        };
        let Some(pidfd) = pidfd else { return Ok(Self { caller: by_credentials, pidfd: None }) };
        Self::look_at(keeper, by_credentials, pidfd).await
    }

    /// The process behind `pidfd`, which accessed a file as this user and group: it must be of them otherwise, too. Its further
    /// groups are those it has now.
    pub async fn of_process(keeper: &Keeper, pidfd: PidFd, uid: u32, gid: u32) -> Result<Self, Failure> {
        let pid = pidfd.pid().ok().flatten().ok_or_else(gone)?;
        let Credentials { uid: own_uid, gid: own_gid, mut groups } = facts(keeper, &pidfd, false).await?.credentials;
        if (own_uid, own_gid) != (uid, gid) {
            return Err(gone());
        }
        groups.sort_unstable();
        Self::look_at(keeper, Caller::by_credentials(pid, uid, gid, groups), pidfd).await
    }

    async fn look_at(keeper: &Keeper, by_credentials: Caller, pidfd: PidFd) -> Result<Self, Failure> {
        let (uid, pid) = (by_credentials.uid, by_credentials.pid);
        let mut caller = with_facts(&by_credentials, facts(keeper, &pidfd, false).await?);
        // Digests are few at a time: nobody may spend them, or wait for them, whom they cannot help.
        if keeper.policy().judge.awaits_digest(&caller) {
            match digested(keeper, &pidfd, uid).await {
                Ok(digested) => caller = with_facts(&by_credentials, digested),
                Err(failure) => tracing::warn!(uid, pid, problem = %failure.0, "a caller's executable is not digested"),
            }
        }
        let peer = Self { caller, pidfd: Some(pidfd) };
        peer.check_alive()?;
        Ok(peer)
    }

    /// The process that connected still lives.
    pub fn check_alive(&self) -> Result<(), Failure> {
        match &self.pidfd {
            Some(pidfd) if !pidfd.is_alive().unwrap_or(false) => Err(gone()),
            _ => Ok(()),
        }
    }

    /// The kernel's handle on it, where there is one.
    pub fn pidfd(&self) -> Option<&PidFd> {
        self.pidfd.as_ref()
    }

    /// As if it had been attested.
    #[cfg(test)]
    pub fn fake(caller: Caller, pidfd: PidFd) -> Self {
        Self { caller, pidfd: Some(pidfd) }
    }

    /// It still runs the file it ran when it connected; asked where a rule looks at that file.
    pub async fn check_executable(&self, keeper: &Keeper) -> Result<(), Failure> {
        let (Some(pidfd), Some(exe)) = (&self.pidfd, &self.caller.exe) else { return Ok(()) };
        let request = Request::StillRuns { device: exe.device, inode: exe.inode };
        match keeper.roles.warden(&request, Some(pidfd.as_fd()), FACTS_DEADLINE).await? {
            Reply::StillRuns(true) => Ok(()),
            _ => Err(gone()),
        }
    }
}
