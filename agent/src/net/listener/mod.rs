//! Listening, as the situation says: accepting is cheap, counted by address, and everything else is done off the accept path.

mod connection;
mod limits;
mod met;
mod open;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use super::counters;
use super::mesh::state::Net;
use super::tls::ServerTls;
use crate::ops::origin::Origin;
use crate::ops::shares::Shares;
pub use limits::Rates;
pub use met::Met;
pub use open::Open;

/// Handshakes at once, each of which waits for a signature of the keeper; further ones queue within their deadline.
const HANDSHAKES: usize = 64;
/// A listener that cannot be had (its port is in use) is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What all listeners have in common.
#[derive(Debug)]
struct Doors {
    net: Arc<Net>,
    /// For connections from anywhere.
    anyone: Lobby,
    /// For those from where peers were met.
    met: Lobby,
}

/// Room for connections that have not shown a peer's key, yet or at all.
#[derive(Debug)]
struct Lobby {
    places: Arc<Shares<Origin>>,
    handshakes: Semaphore,
}

impl Default for Lobby {
    fn default() -> Self {
        Self { places: Arc::default(), handshakes: Semaphore::new(HANDSHAKES) }
    }
}

impl Doors {
    fn lobby(&self, origin: Origin) -> &Lobby {
        if self.net.met.has(origin) { &self.met } else { &self.anyone }
    }
}

/// Keeps the listeners that the situation asks for. Never ends.
pub async fn run(net: Arc<Net>) {
    let doors = Arc::new(Doors { net: Arc::clone(&net), anyone: Lobby::default(), met: Lobby::default() });
    let (tls_sender, tls) = watch::channel(None);
    let mut chain = vec![];
    let mut listeners: BTreeMap<SocketAddr, AbortHandle> = BTreeMap::new();
    let mut known = net.known.clone();
    loop {
        let wanted = match &*known.borrow_and_update() {
            Some(known) => match &known.mesh {
                Some(identity) if !identity.certificate_chain.is_empty() => {
                    if chain != identity.certificate_chain {
                        chain.clone_from(&identity.certificate_chain);
                        tls_sender.send_replace(ServerTls::new(&net.keeper, identity));
                    }
                    known.settings.listen.clone()
                }
                _ => vec![],
            },
            None => vec![],
        };
        listeners.retain(|address, task| {
            let stays = wanted.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for address in wanted {
            listeners
                .entry(address)
                .or_insert_with(|| tokio::spawn(listen(Arc::clone(&doors), address, tls.clone())).abort_handle());
        }
        if known.changed().await.is_err() {
            return;
        }
    }
}

async fn listen(doors: Arc<Doors>, address: SocketAddr, tls: watch::Receiver<Option<ServerTls>>) {
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::error!(%address, %error, "cannot listen for peers; free the port, or set [gossip] listen");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tracing::info!(%address, "listening for peers");
    loop {
        match listener.accept().await {
            Ok((stream, from)) => admit(&doors, stream, from, &tls),
            Err(error) => {
                // Out of descriptors, mostly: wait for some to be closed rather than spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Counts a connection, or closes it at once.
fn admit(doors: &Arc<Doors>, stream: TcpStream, from: SocketAddr, tls: &watch::Receiver<Option<ServerTls>>) {
    let (Some(known), Some(tls)) = (doors.net.known(), tls.borrow().clone()) else { return };
    // Strangers have half of all connections, and an address an eighth of these. Peers leave these places once they have shown
    // their key; those met before have as many places of their own to do so.
    let all = (known.settings.max_connections / 2).max(8);
    let origin = Origin::from(from.ip());
    match doors.lobby(origin).places.take(origin, 1, all, (all / 8).max(8)) {
        Some(share) => drop(tokio::spawn(connection::serve(Arc::clone(doors), stream, from, tls, share))),
        None => counters::add(&doors.net.counters.shed, 1),
    }
}
