//! The role `view`: reached by the packaged unit's socket or started, if the configuration wants it; again, with growing pauses,
//! when it ends.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::Uid;
use reverie_core::config::Config;
use reverie_core::ipc::ProtocolError;
use reverie_core::ipc::view::{Reply, Request};

use super::answer;
use crate::keeper::Keeper;
use crate::keeper::roles::RoleError;
use crate::ops::channel::{Answering, spawn_role};
use crate::ops::host::{Host, Scope};
use crate::view::{FOLDER, mount};

/// Subject of the alarm while it is down.
const SUBJECT: &str = "view";
/// Questions answered at once.
const AT_ONCE: usize = 256;
/// By then the unit of the one before has cleaned up after it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// One that ran so long ended for another reason than the one before.
const HEALTHY: Duration = Duration::from_secs(60);
/// Between looks whether it is still mounted.
const LOOK: Duration = Duration::from_secs(5);

/// What mounts, started before this process gave that up; none where the unit does it, or nobody wants it.
pub fn mounter(config: &Config, host: &Host) -> io::Result<Option<OwnedFd>> {
    let wanted = config.view.enabled && host.view_socket.is_none() && host.scope == Scope::System && Uid::effective().is_root();
    let start = || spawn_role(&std::env::current_exe()?, "view-mount", &["--run-dir".as_ref(), host.run.as_os_str()]);
    wanted.then(start).transpose()
}

/// Keeps it up, if the configuration at the start wants it.
pub async fn run(keeper: Arc<Keeper>, mounter: Option<OwnedFd>) {
    if !keeper.policy().config.view.enabled {
        return;
    }
    if let Some(why) = cannot(&keeper, mounter.is_some()) {
        return keeper.alarms.raise(SUBJECT, why);
    }
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let ended = tokio::select! {
            ended = serve(&keeper, mounter.as_ref()) => ended,
            () = keeper.stopping.cancelled() => return,
        };
        if begun.elapsed() >= HEALTHY {
            pause = FIRST_PAUSE;
        }
        let why = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
        let message = format!(
            "the file view is down ({why}), and nobody reads below {}; it is started again; its log says more, and published \
             files are not concerned",
            keeper.host.run.join(FOLDER).display()
        );
        keeper.alarms.raise(SUBJECT, message);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Why there can be none on this host.
fn cannot(keeper: &Keeper, has_mounter: bool) -> Option<&'static str> {
    match keeper.host.scope {
        _ if !keeper.pidfd_attestation => {
            Some("the file view needs Linux 6.5, to know its readers by pidfd; use published files")
        }
        Scope::User => {
            Some("the file view is for the system's agent; set `enabled = false` under [view], and use published files")
        }
        Scope::System if !has_mounter && keeper.host.view_socket.is_none() => Some(
            "the file view cannot be mounted: this agent is not root, and the unit reverie-agent-view.socket is not there; start \
             it, or set `enabled = false` under [view]",
        ),
        Scope::System => None,
    }
}

/// Answers until the other end closes.
async fn serve(keeper: &Arc<Keeper>, mounter: Option<&OwnedFd>) -> Result<(), RoleError> {
    let channel: Answering<Request, Reply> = Answering::accept(keeper.roles.view(mounter)?, "view").await?;
    keeper.alarms.clear(SUBJECT);
    let answer = |request: Result<Request, ProtocolError>, descriptors| {
        let keeper = Arc::clone(keeper);
        async move {
            match request {
                Ok(request) => answer(&keeper, request, descriptors).await,
                Err(error) => {
                    tracing::warn!(%error, "a question of the view made no sense");
                    Reply::Failed
                }
            }
        }
    };
    tokio::select! {
        served = channel.serve(AT_ONCE, answer) => Ok(served?),
        () = unmounted(keeper.host.run.join(FOLDER)) => Err(RoleError::Failed("somebody unmounted it".to_owned())),
    }
}

/// Ends once there was a mount at `point` and is none any more. With a file open in it, the role serves on what nobody finds.
async fn unmounted(point: PathBuf) {
    let mut was_there = false;
    loop {
        let at = point.clone();
        match tokio::task::spawn_blocking(move || mount::is_there(&at)).await {
            Ok(Ok(true)) => was_there = true,
            Ok(Ok(false)) if was_there => return,
            // Or this process does not see the system's mounts.
            _ => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}
