//! The role `tunnel`: plain on this host, mutual TLS to another. It meets the network, holds no key and reaches no local socket:
//! the keeper signs, and hands over connections of callers that it has attested.
//!
//! | room | what it does |
//! |---|---|
//! | `door` | one tunnel: where connections come from, and what becomes of each |
//! | `unknown` | those that have not shown who they are |
//! | `handshake`, `session` | TLS, without buffers of its own |
//! | `tls`, `trust` | who may be at the other end |
//! | `relay`, `stream`, `buffers` | bytes both ways |
//! | `open` | what is open, and what is closed when trust changes |

mod buffers;
mod clock;
mod door;
mod handshake;
mod keeper;
mod open;
mod relay;
mod session;
mod stream;
mod tls;
mod trust;
mod unknown;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reverie_core::id::TunnelName;
use reverie_core::ipc::tunnel::{Request, Situation};
use reverie_sys::process;
use tokio::sync::Notify;

use crate::ops::channel::{ChannelError, stdin_channel};
use crate::ops::{confinement, logging};
use door::Door;
use keeper::Keeper;
use trust::Trust;

/// Before the situation is asked for again.
const PAUSE: Duration = Duration::from_millis(200);
/// The keeper is told this often.
const TELL: Duration = Duration::from_secs(2);

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Standard input is not a channel to the keeper.
    #[error("standard input is not a socket to the keeper ({0}); the role tunnel is started by the keeper or by its socket unit")]
    NoChannel(io::Error),
    /// The kernel gave no thread or no memory.
    #[error("the role tunnel could not start ({0}); check the limits of its unit")]
    Start(#[from] io::Error),
}

/// Keeps the tunnels that the keeper names, until it closes the channel on standard input.
pub fn run() -> Result<(), Error> {
    process::set_nondumpable().and_then(|()| process::set_no_new_privs()).map_err(ChannelError::from)?;
    if let Err(error) = process::raise_nofile_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    // Before there are threads: they inherit it. A kernel without seccomp or Landlock is no reason to be without tunnels.
    for confined in [confinement::give_up_system_calls(), confinement::keep_to_the_network()] {
        confined.unwrap_or_else(|error| tracing::warn!(%error, "the role tunnel could not be confined"));
    }
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name("tunnel").enable_all().build()?;
    let result = runtime.block_on(serve(stdin_channel().map_err(Error::NoChannel)?));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

type Doors = Arc<Mutex<BTreeMap<TunnelName, Arc<Door>>>>;

/// The same on `channel`.
async fn serve(channel: OwnedFd) -> Result<(), Error> {
    let keeper = Arc::new(Keeper::connect(channel).await?);
    let (doors, news) = (Doors::default(), Arc::new(Notify::new()));
    let telling = tokio::spawn(tell(Arc::clone(&keeper), Arc::clone(&doors), Arc::clone(&news)));
    let result = follow(&keeper, &doors, &news).await;
    telling.abort();
    match result {
        Err(ChannelError::Closed { .. }) => Ok(()),
        other => Ok(other?),
    }
}

async fn follow(keeper: &Arc<Keeper>, doors: &Doors, news: &Arc<Notify>) -> Result<(), ChannelError> {
    let (mut seen, mut log_level) = (0, String::new());
    let (mut trust_number, mut trust) = (None, Arc::new(Trust::new(Default::default())));
    loop {
        let Some(situation) = keeper.watch(seen).await? else { continue };
        if situation.log_level != log_level {
            log_level.clone_from(&situation.log_level);
            logging::set_level(&log_level);
        }
        if trust_number != Some(situation.trust) {
            // If there is a newer one, there is a newer situation too.
            let Some(told) = keeper.trust(situation.trust).await? else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            (trust_number, trust) = (Some(situation.trust), Arc::new(Trust::new(told)));
        }
        seen = situation.number;
        arrange(keeper, doors, news, &situation, &trust);
    }
}

/// What stays goes on; what is gone or leads elsewhere ends.
fn arrange(keeper: &Arc<Keeper>, doors: &Doors, news: &Arc<Notify>, situation: &Situation, trust: &Arc<Trust>) {
    let mut doors = doors.lock().unwrap_or_else(PoisonError::into_inner);
    doors.retain(|name, door| {
        let stays = situation.tunnels.iter().any(|tunnel| tunnel.declared.name == *name && !door.differs_from(tunnel));
        if !stays {
            door.close();
        }
        stays
    });
    for tunnel in &situation.tunnels {
        match doors.get(&tunnel.declared.name) {
            Some(door) => door.follow(tunnel, trust),
            None => drop(doors.insert(tunnel.declared.name.clone(), Door::open(keeper, tunnel, trust, Arc::clone(news)))),
        }
    }
}

async fn tell(keeper: Arc<Keeper>, doors: Doors, news: Arc<Notify>) {
    loop {
        let states: BTreeMap<_, _> = {
            let doors = doors.lock().unwrap_or_else(PoisonError::into_inner);
            doors.iter().map(|(name, door)| (name.clone(), door.state())).collect()
        };
        keeper.tell(&Request::Report(states)).await;
        let _ = tokio::time::timeout(TELL, news.notified()).await;
    }
}
