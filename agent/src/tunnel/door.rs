//! One tunnel: where its connections come from, and what becomes of each. Accepting is cheap, counted, and waits for nobody.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reverie_core::config::{self, Accept, Connect};
use reverie_core::ipc::tunnel::{Refusal, Request, Tunnel, TunnelState};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::handshake::{Failure, Secured, shake};
use super::keeper::Keeper;
use super::open::Open;
use super::relay;
use super::stream::Stream;
use super::tls::{Tls, Verifier};
use super::trust::{Refused, Trust};
use super::unknown::{Guest, Unknown};
use crate::ops::origin::Origin;
use crate::ops::shares::{Share, Shares};

/// From the first byte to the last of a handshake, waits for its turns included.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a connection to the other end, or to the service.
const CONNECT: Duration = Duration::from_secs(10);
/// Handshakes of which a step is in work at once.
const HANDSHAKES: usize = 64;
/// Names looked up at once, by all tunnels: each takes a thread for as long as the resolver takes.
static LOOKUPS: Semaphore = Semaphore::const_new(16);
/// A listener that cannot be had is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Connections that may wait in the kernel.
const BACKLOG: u32 = 4096;
/// Callers fetched from the keeper at once.
const FETCHED: usize = 8;

/// What it works by, made anew with each situation.
#[derive(Debug, Clone)]
struct Current {
    tls: Option<Tls>,
    verifier: Arc<Verifier>,
}

/// Who has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Local(u32),
    Loopback,
    Remote(Origin),
}

/// See above.
#[derive(Debug)]
pub(super) struct Door {
    keeper: Arc<Keeper>,
    current: watch::Sender<Current>,
    open: Arc<Open>,
    shares: Arc<Shares<Who>>,
    unknown: Arc<Unknown>,
    handshakes: Arc<Semaphore>,
    trouble: Mutex<Option<String>>,
    /// The keeper is to be told soon.
    news: Arc<Notify>,
    closed: CancellationToken,
}

impl Door {
    /// Opens it.
    pub(super) fn open(keeper: &Arc<Keeper>, tunnel: &Tunnel, trust: &Arc<Trust>, news: Arc<Notify>) -> Arc<Self> {
        let door = Arc::new(Self {
            keeper: Arc::clone(keeper),
            current: watch::channel(current(keeper, tunnel, trust)).0,
            open: Arc::default(),
            shares: Arc::default(),
            unknown: Arc::default(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            trouble: Mutex::default(),
            news,
            closed: CancellationToken::new(),
        });
        let (own, closed) = (Arc::clone(&door), door.closed.clone());
        let accept = tunnel.declared.accept.clone();
        tokio::spawn(closed.run_until_cancelled_owned(async move {
            match accept {
                Accept::Unix => own.fetch().await,
                Accept::Tcp(address) | Accept::Tls(address) => own.listen(address).await,
            }
        }));
        door
    }

    /// True if another one is to be made: this one comes from, or leads, elsewhere, or as somebody else.
    pub(super) fn differs_from(&self, tunnel: &Tunnel) -> bool {
        let (before, now) = (&self.current.borrow().verifier.declared, &tunnel.declared);
        (&before.accept, &before.connect, &before.identity) != (&now.accept, &now.connect, &now.identity)
    }

    /// New connections by the new rules, at once; of those that are there, whoever is not permitted any more is cut off.
    pub(super) fn follow(self: &Arc<Self>, tunnel: &Tunnel, trust: &Arc<Trust>) {
        let next = current(&self.keeper, tunnel, trust);
        let verifier = Arc::clone(&next.verifier);
        self.current.send_replace(next);
        for refused in self.open.follow(&verifier) {
            let refused = Refused { why: format!("{}; its connections are closed", refused.why), ..refused };
            self.tell_refused(refused, None);
        }
    }

    /// As the keeper is told.
    pub(super) fn state(&self) -> TunnelState {
        self.open.state(self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn set_trouble(&self, why: Option<String>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *trouble != why {
            *trouble = why;
            self.news.notify_one();
        }
    }

    fn tell_refused(self: &Arc<Self>, refused: Refused, address: Option<SocketAddr>) {
        let door = Arc::clone(self);
        let tunnel = self.current.borrow().verifier.declared.name.clone();
        tracing::info!(%tunnel, peer = ?refused.id, ?address, why = refused.why, "refused");
        tokio::spawn(async move {
            let peer = refused.id.map(|id| id.to_string());
            door.keeper.tell(&Request::Refused { tunnel, peer, address, reason: refused.why }).await;
        });
    }

    /// From the keeper, which has accepted and attested them.
    async fn fetch(self: Arc<Self>) {
        let mut fetching = JoinSet::new();
        for _ in 0..FETCHED {
            let door = Arc::clone(&self);
            fetching.spawn(async move {
                loop {
                    let verifier = Arc::clone(&door.current.borrow().verifier);
                    match door.keeper.accept(&verifier.declared).await {
                        Ok(Some((uid, stream))) => match Stream::unix(stream) {
                            Ok(stream) => door.admit(stream, Who::Local(uid), None),
                            Err(error) => tracing::warn!(%error, "a caller could not be served"),
                        },
                        Ok(None) => {}
                        Err(why) => {
                            tracing::debug!(why, "no caller could be fetched");
                            tokio::time::sleep(RETRY).await;
                        }
                    }
                }
            });
        }
        fetching.join_next().await;
    }

    async fn listen(self: Arc<Self>, address: SocketAddr) {
        let listener = loop {
            match bind(address) {
                Ok(listener) => break listener,
                Err(error) => {
                    let why =
                        format!("it cannot listen on {address}: {error}; free the port, or set `accept`; it is tried again");
                    self.set_trouble(Some(why));
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        self.set_trouble(None);
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let who = if from.ip().is_loopback() { Who::Loopback } else { Who::Remote(from.ip().into()) };
                    if let Ok(stream) = Stream::tcp(stream) {
                        self.admit(stream, who, Some(from));
                    }
                }
                Err(error) => {
                    // Out of descriptors, mostly: wait for some to be closed rather than spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Counts a connection, or closes it at once.
    fn admit(self: &Arc<Self>, stream: Stream, who: Who, from: Option<SocketAddr>) {
        let current = self.current.borrow().clone();
        let (door, closed) = (Arc::clone(self), self.closed.clone());
        if let (Accept::Tls(_), Some(from)) = (&current.verifier.declared.accept, from) {
            // It has a place of its own only once it has shown who it is.
            let Some(guest) = self.unknown.enter(from.ip().into()) else { return self.shed(&stream) };
            let welcome = async move { door.welcome(stream, who, from, current, guest).await };
            tokio::spawn(closed.run_until_cancelled_owned(welcome));
        } else {
            let Some(place) = self.take_place(who, &current) else { return self.shed(&stream) };
            tokio::spawn(closed.run_until_cancelled_owned(async move { door.reach(stream, current, place).await }));
        }
    }

    fn take_place(&self, who: Who, current: &Current) -> Option<Share<Who>> {
        let declared = &current.verifier.declared;
        self.shares.take(who, 1, declared.max_connections, declared.max_connections_each)
    }

    fn shed(&self, stream: &Stream) {
        stream.break_off();
        self.open.refuse(Refusal::Limit);
    }

    /// As the client: to the other host.
    async fn reach(self: &Arc<Self>, plain: Stream, current: Current, _place: Share<Who>) {
        // Until it ends in order. TLS needs no such thing: it tells an end from a break itself.
        plain.break_off();
        let Some(tls) = &current.tls else { return self.shed(&plain) };
        let Ok(far) = self.connect(&current.verifier.declared.connect).await else { return };
        let to = match &far {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Unix(_) => None,
        };
        let Ok(secured) = self.secure(&far, to, tls, &current.verifier).await else { return };
        self.carry(plain, far, secured, to, &current).await;
    }

    /// As the server: from another host, to the service.
    async fn welcome(self: &Arc<Self>, far: Stream, who: Who, from: SocketAddr, current: Current, guest: Guest) {
        let Some(tls) = &current.tls else { return self.shed(&far) };
        let from = Some(from);
        let secured = match guest.put_out.run_until_cancelled(self.secure(&far, from, tls, &current.verifier)).await {
            Some(Ok(secured)) => secured,
            Some(Err(())) => return,
            None => return self.shed(&far),
        };
        let Some(_place) = self.take_place(who, &current) else { return self.shed(&far) };
        drop(guest);
        match self.connect(&current.verifier.declared.connect).await {
            Ok(plain) => {
                plain.break_off();
                self.carry(plain, far, secured, from, &current).await;
            }
            Err(()) => far.break_off(),
        }
    }

    /// Bytes both ways, as long as the other side may be there.
    async fn carry(
        self: &Arc<Self>,
        plain: Stream,
        far: Stream,
        secured: Secured,
        address: Option<SocketAddr>,
        shaken_by: &Current,
    ) {
        let established = self.open.register(Arc::clone(&secured.peer), self.closed.child_token());
        // What came during the handshake has looked at what was there, and not at this.
        let verifier = Arc::clone(&self.current.borrow().verifier);
        if !Arc::ptr_eq(&verifier, &shaken_by.verifier)
            && let Err(refused) = verifier.still_permits(&secured.peer)
        {
            self.open.refuse(Refusal::Peer);
            return self.tell_refused(refused, address);
        }
        let relayed = tokio::select! {
            relayed = relay::run(&plain, &far, secured, &self.open.bytes) => relayed,
            () = established.closing.cancelled() => return far.break_off(),
            () = age(&verifier.declared) => {
                self.open.outlived.fetch_add(1, Ordering::Relaxed);
                return far.break_off();
            }
        };
        match relayed {
            Ok(()) => plain.finish(),
            Err(error) => tracing::debug!(%error, "a connection broke off"),
        }
    }

    fn tell_unreachable(&self, why: &str) {
        tracing::info!(tunnel = %self.current.borrow().verifier.declared.name, why, "what it leads to cannot be reached");
        self.open.refuse(Refusal::Unreachable);
    }

    /// To the service, or to the other host.
    async fn connect(&self, to: &Connect) -> Result<Stream, ()> {
        let address = match to {
            Connect::Unix(_) => {
                let name = self.current.borrow().verifier.declared.name.clone();
                let opened = self.keeper.open(&name).await;
                let opened = opened.and_then(|stream| Stream::unix(stream).map_err(|error| error.to_string()));
                return opened.map_err(|why| self.tell_unreachable(&why));
            }
            Connect::Tcp(address) | Connect::Tls(address) => address,
        };
        let connect = async {
            let mut last = None;
            let turn = LOOKUPS.acquire().await.map_err(std::io::Error::other)?;
            let addresses: Vec<_> = lookup_host(address).await?.collect();
            drop(turn);
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Stream::tcp(stream),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.unwrap_or_else(|| std::io::Error::other("the name has no address")))
        };
        match tokio::time::timeout(CONNECT, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                self.tell_unreachable(&format!("{address}: {error}"));
                Err(())
            }
            Err(_) => {
                self.tell_unreachable(&format!("{address} did not answer"));
                Err(())
            }
        }
    }

    async fn secure(
        self: &Arc<Self>,
        far: &Stream,
        address: Option<SocketAddr>,
        tls: &Tls,
        verifier: &Verifier,
    ) -> Result<Secured, ()> {
        match tokio::time::timeout(HANDSHAKE, shake(far, tls, verifier, &self.handshakes)).await {
            Ok(Ok(secured)) => return Ok(secured),
            Ok(Err(Failure::Peer(refused))) => {
                self.open.refuse(Refusal::Peer);
                self.tell_refused(refused, address);
            }
            Ok(Err(error)) => {
                self.open.refuse(Refusal::Handshake);
                tracing::info!(tunnel = %verifier.declared.name, ?address, %error, "a handshake failed");
            }
            Err(_) => {
                self.open.refuse(Refusal::Handshake);
                far.break_off();
            }
        }
        Err(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

impl Door {
    /// Its listener and its connections end.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }
}

/// Until a connection that begins now is too old.
async fn age(declared: &config::Tunnel) {
    let mut random = [0; 2];
    // Without randomness, all at the end.
    let _ = aws_lc_rs::rand::fill(&mut random);
    match declared.lifetime(u16::from_ne_bytes(random)) {
        Some(lifetime) => tokio::time::sleep(lifetime).await,
        None => std::future::pending().await,
    }
}

fn current(keeper: &Arc<Keeper>, tunnel: &Tunnel, trust: &Arc<Trust>) -> Current {
    let verifier = Arc::new(Verifier::new(Arc::clone(trust), tunnel.declared.clone()));
    Current { tls: Tls::new(keeper, tunnel, Arc::clone(&verifier)), verifier }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
