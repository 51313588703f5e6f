//! Drives the gossip rounds: tells the machine what happened, does what it says, and sleeps until one of the two.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use reverie_core::id::NodeId;
use reverie_core::mesh::crypto::PublicOperations;
use reverie_core::mesh::round::{Effect, ExchangeId, Inbound, MAX_DATAGRAM, Outcome, Round};
use reverie_core::mesh::vector::Position;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::endpoint::MEMBERSHIP_MEDIA;
use super::exchange;
use super::known::Known;
use super::peers::Asking;
use super::state::Net;
use crate::net::clock::Steady;
use crate::net::counters;

/// A datagram is given up after this: it may be lost.
const DATAGRAM: Duration = Duration::from_secs(3);
/// Datagrams under way at once; further ones are lost, as datagrams are.
const DATAGRAMS: usize = 256;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A peer's message was merged.
    Merged {
        /// Whose.
        from: NodeId,
        /// What it brought.
        inbound: Inbound,
    },
    /// An exchange ended.
    Exchanged {
        /// With whom.
        with: NodeId,
        /// Which.
        exchange: ExchangeId,
        /// How.
        outcome: Outcome,
    },
    /// A datagram came.
    Membership {
        /// From whom.
        from: NodeId,
        /// It.
        bytes: Vec<u8>,
        /// Where one for the same peer may go.
        answer: Option<oneshot::Sender<Vec<u8>>>,
    },
    /// The peers that are backed off are to be tried at once.
    RetryNow,
}

/// Runs while this process does.
pub async fn run(net: Arc<Net>, mut inbox: mpsc::Receiver<Event>) {
    let mut known = net.known.clone();
    let mut driver: Option<Driver> = None;
    let steady = Steady::start();
    loop {
        let now = steady.now();
        let wake = match &driver {
            Some(driver) => driver.round.wake().since(now),
            None => Duration::from_secs(3600),
        };
        tokio::select! {
            changed = known.changed() => {
                if changed.is_err() {
                    return;
                }
                let newest = known.borrow_and_update().clone();
                if let Some(newest) = newest {
                    Driver::follow(&mut driver, &net, &newest, &steady);
                }
            }
            event = inbox.recv() => match (event, &mut driver) {
                (Some(event), Some(driver)) => driver.handle(event, &steady),
                (Some(_), None) => {}
                (None, _) => return,
            },
            () = tokio::time::sleep(wake) => if let Some(driver) = &mut driver {
                driver.round.handle_timer(steady.now());
                driver.perform(None);
            },
        }
    }
}

struct Driver {
    net: Arc<Net>,
    round: Round,
    /// Who we are in it; with another identity it begins anew.
    me: (NodeId, u64),
    peers: Vec<NodeId>,
    own: Position,
    settings: reverie_core::mesh::round::RoundSettings,
    exchanges: BTreeMap<ExchangeId, AbortHandle>,
    work: JoinSet<()>,
    datagrams: Arc<Semaphore>,
}

impl Driver {
    fn follow(driver: &mut Option<Self>, net: &Arc<Net>, known: &Known, steady: &Steady) {
        let Some(identity) = &known.mesh else {
            *driver = None;
            return;
        };
        let (me, now) = ((identity.node.clone(), identity.epoch), steady.now());
        if driver.as_ref().is_none_or(|driver| driver.me != me) {
            let mut seed = [0; 32];
            if net.ops.random(&mut seed).is_err() {
                tracing::error!("the system gives no random bytes; there is no gossip without them");
                return;
            }
            *driver = Some(Self {
                net: Arc::clone(net),
                round: Round::new(me.0.clone(), me.1, known.settings.round, seed, now),
                me,
                peers: vec![],
                own: known.own,
                settings: known.settings.round,
                exchanges: BTreeMap::new(),
                work: JoinSet::new(),
                datagrams: Arc::new(Semaphore::new(DATAGRAMS)),
            });
        }
        let Some(driver) = driver else { return };
        if driver.settings != known.settings.round {
            driver.settings = known.settings.round;
            driver.round.handle_settings(now, known.settings.round);
        }
        if !known.peers.iter().map(|peer| &peer.node).eq(&driver.peers) {
            driver.peers = known.peers.iter().map(|peer| peer.node.clone()).collect();
            driver.round.handle_peers(now, &driver.peers);
        }
        if known.own > driver.own {
            driver.own = known.own;
            driver.round.handle_local_change(now);
        }
        driver.perform(None);
    }

    fn handle(&mut self, event: Event, steady: &Steady) {
        let now = steady.now();
        let mut answer = None;
        match event {
            Event::Merged { from, inbound } => self.round.handle_merged(now, &from, inbound),
            Event::Exchanged { with, exchange, outcome } => {
                self.exchanges.remove(&exchange);
                self.round.handle_exchange(now, &with, exchange, outcome);
            }
            Event::Membership { from, bytes, answer: sender } => {
                self.round.handle_membership(now, &from, &bytes);
                answer = sender.map(|sender| (from, sender));
            }
            Event::RetryNow => self.round.retry_now(now),
        }
        self.perform(answer);
    }

    /// Does what the machine says. A datagram for `answer` goes there.
    fn perform(&mut self, mut answer: Option<(NodeId, oneshot::Sender<Vec<u8>>)>) {
        while self.work.try_join_next().is_some() {}
        while let Some(effect) = self.round.poll() {
            match effect {
                Effect::Push { to, exchange } => self.begin(to, exchange, true),
                Effect::Probe { to, exchange } => self.begin(to, exchange, false),
                Effect::Abandon { to, exchange } => {
                    if let Some(task) = self.exchanges.remove(&exchange) {
                        task.abort();
                        self.net.book.failed(&to, "it did not answer in time");
                        counters::add(&self.net.counters.exchanges_failed, 1);
                    }
                }
                Effect::Datagram { to, bytes } => match answer.take_if(|(node, _)| *node == to) {
                    Some((_, sender)) => drop(sender.send(bytes)),
                    None => self.send(to, bytes),
                },
                Effect::State { node, state } => self.net.book.is_now(&node, state),
            }
        }
    }

    fn begin(&mut self, to: NodeId, exchange: ExchangeId, push: bool) {
        let net = Arc::clone(&self.net);
        let task = self.work.spawn(async move {
            let outcome = match push {
                true => exchange::push(&net, &to).await,
                false => exchange::probe(&net, &to).await,
            };
            // An outcome that is lost is one that comes too late.
            let _ = net.rounds.send(Event::Exchanged { with: to, exchange, outcome }).await;
        });
        self.exchanges.insert(exchange, task);
    }

    fn send(&mut self, to: NodeId, bytes: Vec<u8>) {
        let Ok(turn) = Arc::clone(&self.datagrams).try_acquire_owned() else { return };
        let net = Arc::clone(&self.net);
        counters::add(&net.counters.datagrams, 1);
        self.work.spawn(async move {
            if let Ok(Some(bytes)) = tokio::time::timeout(DATAGRAM, datagram(&net, &to, bytes)).await {
                let _ = net.rounds.try_send(Event::Membership { from: to, bytes, answer: None });
            }
            drop(turn);
        });
    }
}

/// What came back, if anything.
async fn datagram(net: &Net, to: &NodeId, bytes: Vec<u8>) -> Option<Vec<u8>> {
    let peer = net.known()?.peer(to)?;
    let asking = Asking::post("/api/gossip/membership", MEMBERSHIP_MEDIA, Bytes::from(bytes), MAX_DATAGRAM.max(4096));
    match net.peers.ask(net, &peer, asking).await {
        Ok((200, bytes)) if bytes.len() <= MAX_DATAGRAM => Some(bytes),
        _ => None,
    }
}
