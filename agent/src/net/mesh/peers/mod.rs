//! Connections that are kept to peers: HTTP/2, one for each, a bounded number, dropped with the peer's key.

mod connection;
mod dial;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::{HeaderMap, Method};
use reverie_core::id::NodeId;
use reverie_core::mesh::crypto::Kid;
use tokio::sync::Mutex as AsyncMutex;

use super::known::{Known, KnownPeer};
use super::state::Net;
use crate::net::tls::{ClientTls, Pin};
pub use connection::Connection;
pub use dial::dial;

/// For a connection and its handshake.
const CONNECT: Duration = Duration::from_secs(8);

/// A request to another host.
#[derive(Debug, Clone)]
pub struct Asking<'a> {
    /// GET or POST.
    pub method: Method,
    /// With its query.
    pub path: &'a str,
    /// Of the body; empty for none.
    pub media: &'static str,
    /// Further ones.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Bytes of the answer.
    pub limit: usize,
}

impl<'a> Asking<'a> {
    /// Without a body.
    pub fn get(path: &'a str, limit: usize) -> Self {
        Self { method: Method::GET, path, media: "", headers: HeaderMap::new(), body: Bytes::new(), limit }
    }

    /// With one.
    pub fn post(path: &'a str, media: &'static str, body: impl Into<Bytes>, limit: usize) -> Self {
        Self { method: Method::POST, media, body: body.into(), ..Self::get(path, limit) }
    }
}

/// All kept connections.
#[derive(Debug, Default)]
pub struct Peers {
    slots: Mutex<BTreeMap<NodeId, Arc<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    /// Held while connecting, so that one connection is made and not many.
    connection: AsyncMutex<Option<Arc<Connection>>>,
    /// To look at without waiting for one that connects.
    live: Mutex<Option<Arc<Connection>>>,
    used: Mutex<Instant>,
}

impl Slot {
    fn new() -> Self {
        Self { connection: AsyncMutex::default(), live: Mutex::default(), used: Mutex::new(Instant::now()) }
    }

    fn live(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self) -> MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a peer over its kept connection, or a new one. The caller sets the deadline.
    pub async fn ask(&self, net: &Net, peer: &KnownPeer, asking: Asking<'_>) -> Result<(u16, Vec<u8>), String> {
        let slot = self.slot(peer);
        for fresh in [false, true] {
            let (connection, is_new) = self.connection(net, peer, &slot).await?;
            match connection.ask(asking.clone()).await {
                // A kept connection that the other side has just closed says nothing about the other side.
                Err(error) if error.is_closed && !is_new && !fresh => {
                    let mut kept = slot.connection.lock().await;
                    // Unless somebody else has a new one by now.
                    if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &connection)) {
                        *kept = None;
                    }
                }
                result => return result.map(|(status, _, body)| (status, body)).map_err(|error| error.text),
            }
        }
        Err("the connection was closed".to_owned())
    }

    fn slot(&self, peer: &KnownPeer) -> Arc<Slot> {
        let max = peer.known().settings.max_connections as usize;
        let mut slots = self.slots();
        let slot = Arc::clone(slots.entry(peer.node.clone()).or_insert_with(|| Arc::new(Slot::new())));
        *slot.used() = Instant::now();
        if slots.len() > max.max(1) {
            // The one that was not used for longest.
            let oldest = slots.iter().min_by_key(|(_, slot)| *slot.used()).map(|(node, _)| node.clone());
            oldest.and_then(|node| slots.remove(&node));
        }
        slot
    }

    async fn connection(&self, net: &Net, peer: &KnownPeer, slot: &Slot) -> Result<(Arc<Connection>, bool), String> {
        let mut kept = slot.connection.lock().await;
        if let Some(connection) = kept.as_ref()
            && connection.is_open()
            && peer.signing_keys.contains(&connection.key)
        {
            return Ok((Arc::clone(connection), false));
        }
        let identity = peer.known().identity().map_err(|refusal| refusal.message)?;
        // A connection as nobody would be kept, and refused for as long as it stands.
        if identity.certificate_chain.is_empty() {
            return Err("this host has no certificate to show yet; it is made right after joining".to_owned());
        }
        let tls = ClientTls::new(&net.keeper, identity);
        let pin = Pin::Keys(peer.signing_keys.clone());
        // Whoever waits for its turn has not been tried yet.
        let _turn = net.dials.acquire().await.map_err(|error| error.to_string())?;
        let connecting = async {
            let dialled = dial(&tls, &peer.addresses, Some(peer.node.as_str()), &pin, true).await?;
            if let Ok(address) = dialled.stream.get_ref().0.peer_addr() {
                net.met.at(address.ip().into());
            }
            Connection::over(dialled).await
        };
        let connection = match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connection) => Arc::new(connection?),
            Err(_) => return Err(format!("no connection within {} s", CONNECT.as_secs())),
        };
        // The situation may have changed meanwhile.
        if net.known().is_none_or(|known| !known.is_welcome(&connection.key)) {
            return Err("its key is not welcome any more".to_owned());
        }
        *kept = Some(Arc::clone(&connection));
        *slot.live() = Some(Arc::clone(&connection));
        Ok((connection, true))
    }

    /// Drops connections to whoever is no peer any more, or has another key.
    pub fn follow(&self, known: &Known) {
        let mut slots = self.slots();
        slots.retain(|node, slot| {
            let mut live = slot.live();
            if live.as_ref().is_some_and(|connection| !known.is_welcome(&connection.key)) {
                live.take().inspect(|connection| connection.close());
            }
            known.peers.iter().any(|peer| peer.node == *node)
        });
    }

    /// Drops connections made with these keys.
    pub fn close(&self, kids: &[Kid]) {
        for slot in self.slots().values() {
            let mut live = slot.live();
            if live.as_ref().is_some_and(|connection| kids.contains(&connection.key.kid())) {
                live.take().inspect(|connection| connection.close());
            }
        }
    }

    /// The address of the connection to a peer.
    pub fn address(&self, node: &NodeId) -> Option<String> {
        let slot = self.slots().get(node).cloned()?;
        slot.live().as_ref().map(|connection| connection.address.clone())
    }

    /// How many connections are open.
    pub fn count(&self) -> u32 {
        let open =
            self.slots().values().filter(|slot| slot.live().as_ref().is_some_and(|connection| connection.is_open())).count();
        u32::try_from(open).unwrap_or(u32::MAX)
    }
}
