//! One clock, many hosts, and what passes between them: the driver does what the `net` role does, without a network.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::rc::Rc;

use reverie_core::id::NodeId;
use reverie_core::mesh::round::{Effect, ExchangeId, Inbound, Outcome, Round, RoundSettings, Synced};
use reverie_core::moment::Moment;

use super::chance::Chance;
use super::network::Network;
use super::replica::Replica;
use super::traffic::{Kind, Sizes, Traffic, on_the_wire};

/// The first moment of a run.
pub const BEGIN: i64 = 1_800_000_000_000;
/// Sealing or opening a message, its way to the keeper, and making it durable: one host does one at a time.
const ENVELOPE_COST: u64 = 300;
const SMALL_COST: u64 = 30;
/// Peers whose vector a host remembers.
const VECTORS_KEPT: usize = 64;

/// As the configuration has them by default.
pub const SETTINGS: RoundSettings = RoundSettings {
    slide_ms: 20,
    slide_max_ms: 150,
    anti_entropy_ms: 1000,
    fan_out_all: 16,
    back_off_max_ms: 60_000,
    exchange_ms: 10_000,
};

pub struct Host<R: Replica> {
    pub replica: R,
    /// `None`: it is down.
    pub round: Option<Round>,
    pub skew_ms: i64,
    pub traffic: Traffic,
    /// Peers it may speak with.
    pub peers: Vec<NodeId>,
    life: u32,
    vectors: BTreeMap<usize, R::Vector>,
    pushed: BTreeMap<ExchangeId, Pushed<R>>,
    busy: u64,
    wake: Option<u64>,
    answering: Option<usize>,
    /// Of peers that were heard as far as we were and yet differ: what is wanted of them once more.
    anew: BTreeMap<usize, R::Histories>,
}

/// With what a push went out.
struct Pushed<R: Replica> {
    /// What was known of the peer.
    before: Option<R::Vector>,
    /// A further page was left.
    more: bool,
    /// Histories that were asked for.
    anew: R::Histories,
}

#[derive(Clone)]
struct Pages<V, T> {
    vector: V,
    records: Rc<Vec<T>>,
    more: bool,
}

#[derive(Clone)]
enum Packets<V, T, S> {
    Sync {
        exchange: ExchangeId,
        page: Pages<V, T>,
        /// What is asked for.
        since: V,
    },
    Answer {
        exchange: ExchangeId,
        page: Pages<V, T>,
    },
    Digest {
        exchange: ExchangeId,
        digest: [u8; 32],
    },
    /// The vector goes along only to be compared, as the summary does that is asked for if they are equal.
    Compared {
        exchange: ExchangeId,
        differs: Option<(V, S)>,
    },
    Datagram(Vec<u8>),
    /// Nobody listens there.
    Refused {
        exchange: ExchangeId,
    },
}

type Page<R> = Pages<<R as Replica>::Vector, <R as Replica>::Record>;
type Packet<R> = Packets<<R as Replica>::Vector, <R as Replica>::Record, <R as Replica>::Summary>;

enum Event<R: Replica> {
    Wake { host: usize, life: u32 },
    Arrive { from: usize, to: usize, life: u32, packet: Packet<R> },
    Handle { from: usize, to: usize, life: u32, packet: Packet<R> },
}

pub struct World<R: Replica> {
    pub now: u64,
    pub chance: Chance,
    pub network: Network,
    pub settings: RoundSettings,
    pub hosts: Vec<Host<R>>,
    pub names: Vec<NodeId>,
    numbers: HashMap<NodeId, usize>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, Event<R>>,
    next_event: u64,
    sizes: Sizes,
    pub events_handled: u64,
}

/// `h0007.sim.example`.
pub fn name(host: usize) -> NodeId {
    format!("h{host:04}.sim.example").parse().unwrap()
}

impl<R: Replica> World<R> {
    pub fn new(seed: u64, network: Network, settings: RoundSettings, replicas: Vec<R>) -> Self {
        let names: Vec<NodeId> = (0..replicas.len()).map(name).collect();
        let numbers = names.iter().cloned().enumerate().map(|(number, name)| (name, number)).collect();
        let mut world = Self {
            now: 0,
            chance: Chance::new(seed),
            network,
            settings,
            hosts: Vec::new(),
            numbers,
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            next_event: 0,
            sizes: Sizes::default(),
            events_handled: 0,
            names,
        };
        for replica in replicas {
            world.hosts.push(Host {
                replica,
                round: None,
                skew_ms: 0,
                traffic: Traffic::default(),
                peers: world.names.clone(),
                life: 0,
                vectors: BTreeMap::new(),
                pushed: BTreeMap::new(),
                busy: 0,
                wake: None,
                answering: None,
                anew: BTreeMap::new(),
            });
        }
        world
    }

    /// By that host's clock.
    pub fn moment(&self, host: usize) -> Moment {
        Moment::from_millis(BEGIN + (self.now / 1000) as i64 + self.hosts[host].skew_ms)
    }

    pub fn is_up(&self, host: usize) -> bool {
        self.hosts[host].round.is_some()
    }

    pub fn start(&mut self, host: usize) {
        let now = self.moment(host);
        let epoch = u64::try_from(now.as_millis()).unwrap();
        let seed = self.chance.seed();
        let round = Round::new(self.names[host].clone(), epoch, self.settings, seed, now);
        self.hosts[host].round = Some(round);
        self.tell_peers(host);
    }

    /// The host's list of peers changed.
    pub fn tell_peers(&mut self, host: usize) {
        let peers = self.hosts[host].peers.clone();
        self.with_round(host, |round, now| round.handle_peers(now, &peers));
    }

    /// What a peer has, as far as the host knows.
    pub fn vector_of(&self, host: usize, peer: usize) -> Option<&R::Vector> {
        self.hosts[host].vectors.get(&peer)
    }

    /// What it has is kept; what it was about to do is not.
    pub fn stop(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        host.round = None;
        host.life += 1;
        host.vectors.clear();
        host.pushed.clear();
        host.anew.clear();
        host.wake = None;
        host.busy = 0;
    }

    pub fn changed(&mut self, host: usize) {
        self.with_round(host, Round::handle_local_change);
    }

    pub fn with_round(&mut self, host: usize, act: impl FnOnce(&mut Round, Moment)) {
        let now = self.moment(host);
        if let Some(round) = &mut self.hosts[host].round {
            act(round, now);
            self.perform(host);
        }
    }

    /// Runs until that microsecond.
    pub fn run_until(&mut self, end: u64) {
        while self.step(end) {}
        self.now = self.now.max(end);
    }

    pub fn run_for(&mut self, span: u64) {
        self.run_until(self.now + span);
    }

    /// One event, if there is one by then.
    pub fn step(&mut self, end: u64) -> bool {
        let Some(Reverse((at, number))) = self.queue.peek().copied().filter(|Reverse((at, _))| *at <= end) else {
            return false;
        };
        self.queue.pop();
        self.now = at;
        self.events_handled += 1;
        match self.events.remove(&number) {
            Some(Event::Wake { host, life }) => self.wake(host, life),
            Some(Event::Arrive { from, to, life, packet }) => self.arrive(from, to, life, packet),
            Some(Event::Handle { from, to, life, packet }) if self.hosts[to].life == life && self.is_up(to) => {
                self.handle(from, to, packet);
            }
            Some(Event::Handle { .. }) | None => {}
        }
        true
    }

    fn at(&mut self, at: u64, event: Event<R>) {
        self.next_event += 1;
        self.queue.push(Reverse((at, self.next_event)));
        self.events.insert(self.next_event, event);
    }

    fn wake(&mut self, host: usize, life: u32) {
        if self.hosts[host].life == life && self.hosts[host].wake == Some(self.now) {
            self.hosts[host].wake = None;
            self.with_round(host, Round::handle_timer);
        }
    }

    /// Does what the machine wants done.
    fn perform(&mut self, host: usize) {
        while let Some(effect) = self.hosts[host].round.as_mut().and_then(Round::poll) {
            match effect {
                Effect::Push { to, exchange } => {
                    let to = self.numbers[&to];
                    let Host { replica, vectors, anew, .. } = &mut self.hosts[host];
                    let (before, anew) = (vectors.get(&to).cloned(), anew.get(&to).cloned().unwrap_or_default());
                    let (records, more) = before.as_ref().map(|vector| replica.since(vector, to)).unwrap_or_default();
                    let page = Pages { vector: replica.vector(), records: Rc::new(records), more };
                    let since = replica.asking(&anew);
                    self.hosts[host].pushed.insert(exchange, Pushed { before, more, anew });
                    self.send(host, to, Packets::Sync { exchange, page, since });
                }
                Effect::Probe { to, exchange } => {
                    let digest = self.hosts[host].replica.digest();
                    self.send(host, self.numbers[&to], Packets::Digest { exchange, digest });
                }
                Effect::Datagram { to, bytes } => self.send(host, self.numbers[&to], Packets::Datagram(bytes)),
                Effect::Abandon { exchange, .. } => drop(self.hosts[host].pushed.remove(&exchange)),
                Effect::State { .. } => {}
            }
        }
        self.plan_wake(host);
    }

    fn plan_wake(&mut self, host: usize) {
        let Some(round) = &self.hosts[host].round else { return };
        let after = round.wake().as_millis() - BEGIN - self.hosts[host].skew_ms;
        let at = u64::try_from(after * 1000).unwrap_or(0).max(self.now + 1);
        if self.hosts[host].wake.is_none_or(|planned| planned > at) {
            self.hosts[host].wake = Some(at);
            let life = self.hosts[host].life;
            self.at(at, Event::Wake { host, life });
        }
    }

    fn send(&mut self, from: usize, to: usize, packet: Packet<R>) {
        let (kind, payload, is_answer, cost) = match &packet {
            Packets::Sync { page, .. } => (Kind::Sync, self.page_size(page), false, ENVELOPE_COST),
            Packets::Answer { page, .. } => (Kind::Sync, self.page_size(page), true, ENVELOPE_COST),
            Packets::Digest { .. } => (Kind::Digest, 0, false, SMALL_COST),
            // {"digest":"64 hex digits"}
            Packets::Compared { .. } => (Kind::Digest, 77, true, SMALL_COST),
            Packets::Datagram(bytes) => (Kind::Membership, bytes.len(), self.hosts[from].answering == Some(to), SMALL_COST),
            Packets::Refused { .. } => (Kind::Sync, 0, true, 0),
        };
        self.count(from, to, kind, payload, is_answer);
        let sender = &mut self.hosts[from];
        sender.busy = sender.busy.max(self.now) + cost;
        let leaves = sender.busy;
        let life = self.hosts[to].life;
        for delay in self.network.carry(&mut self.chance, from, to) {
            self.at(leaves + delay, Event::Arrive { from, to, life, packet: packet.clone() });
        }
    }

    fn page_size(&mut self, page: &Page<R>) -> usize {
        self.sizes.sealed(R::entries(&page.vector), page.records.iter().map(R::size).sum())
    }

    fn count(&mut self, from: usize, to: usize, kind: Kind, payload: usize, is_answer: bool) {
        let (mut there, mut back) = on_the_wire(payload, is_answer);
        if kind == Kind::Membership && !is_answer {
            // A request is answered, if only by an empty response; the datagram that answers it may ride in it.
            let (answer, acknowledged) = on_the_wire(0, true);
            back += answer;
            there += acknowledged;
        } else if kind == Kind::Membership {
            // That response was counted; this is what it carries more.
            (there, back) = (payload as u64, 0);
        }
        let kind = kind as usize;
        self.hosts[from].traffic.messages[kind] += 1;
        self.hosts[from].traffic.sent[kind] += there;
        self.hosts[from].traffic.received[kind] += back;
        self.hosts[to].traffic.received[kind] += there;
        self.hosts[to].traffic.sent[kind] += back;
    }

    fn arrive(&mut self, from: usize, to: usize, life: u32, packet: Packet<R>) {
        if !self.is_up(to) {
            if let Packets::Sync { exchange, .. } | Packets::Digest { exchange, .. } = packet {
                self.send(to, from, Packets::Refused { exchange });
            }
            return;
        }
        // An answer to somebody who was restarted finds its connection gone; a request does not.
        let is_request = matches!(packet, Packets::Sync { .. } | Packets::Digest { .. } | Packets::Datagram(_));
        if !is_request && life != self.hosts[to].life {
            return;
        }
        let cost = if !matches!(packet, Packets::Digest { .. } | Packets::Compared { .. } | Packets::Datagram(_)) {
            ENVELOPE_COST
        } else {
            SMALL_COST
        };
        let receiver = &mut self.hosts[to];
        receiver.busy = receiver.busy.max(self.now) + cost;
        let (at, life) = (receiver.busy, receiver.life);
        self.at(at, Event::Handle { from, to, life, packet });
    }

    fn handle(&mut self, from: usize, to: usize, packet: Packet<R>) {
        // A connection to a host that does not know us, or that we do not know, is refused.
        let them = self.names[from].clone();
        if self.hosts[to].peers.binary_search(&them).is_err() {
            if let Packets::Sync { exchange, .. } | Packets::Digest { exchange, .. } = packet {
                self.send(to, from, Packets::Refused { exchange });
            }
            return;
        }
        match packet {
            Packets::Sync { exchange, page, since } => {
                let taken = self.merge(to, from, &page);
                let replica = &mut self.hosts[to].replica;
                let (records, more) = replica.since(&since, from);
                let ours = replica.vector();
                let answer = Pages { vector: ours.clone(), records: Rc::new(records), more };
                let equal = !page.more && !answer.more && R::covers(&ours, &page.vector);
                self.send(to, from, Packets::Answer { exchange, page: answer });
                let asks = self.hosts[to].anew.contains_key(&from);
                self.with_round(to, |round, now| round.handle_merged(now, &them, Inbound { taken, equal, asks }));
            }
            Packets::Answer { exchange, page } => {
                let Some(Pushed { before, more: sent_more, anew }) = self.hosts[to].pushed.remove(&exchange) else { return };
                let came = R::came(&anew, &page.records);
                let came_further = came != anew;
                match page.more && anew != R::Histories::default() {
                    true => drop(self.hosts[to].anew.insert(from, came)),
                    false => drop(self.hosts[to].anew.remove(&from)),
                }
                let taken = self.merge(to, from, &page);
                let ours = self.hosts[to].replica.vector();
                let they_lack = !R::covers(&page.vector, &ours);
                let more = page.more || sent_more || before.is_none() && they_lack;
                let moved = before.is_none_or(|before| !R::covers(&before, &page.vector));
                let equal = !more && !they_lack && R::covers(&ours, &page.vector);
                let synced = Synced { taken, more, progressed: taken > 0 || moved || came_further, equal };
                self.end(to, &them, exchange, Outcome::Synced(synced));
            }
            // Here the asker's digest travels with the question and the answerer compares; on the wire it is the other way.
            Packets::Digest { exchange, digest } => {
                let replica = &mut self.hosts[to].replica;
                let differs = (replica.digest() != digest).then(|| (replica.vector(), replica.summary()));
                self.send(to, from, Packets::Compared { exchange, differs });
            }
            Packets::Compared { exchange, differs } => {
                let ours = self.hosts[to].replica.vector();
                let same = |theirs: &R::Vector| R::covers(&ours, theirs) && R::covers(theirs, &ours);
                let outcome = if differs.is_some() { Outcome::Differs } else { Outcome::Equal };
                match differs {
                    Some((vector, summary)) if same(&vector) => {
                        let anew = self.hosts[to].replica.differing(&summary);
                        self.hosts[to].anew.insert(from, anew);
                    }
                    Some(_) => {}
                    None => self.remember(to, from, ours),
                }
                self.end(to, &them, exchange, outcome);
            }
            Packets::Datagram(bytes) => {
                self.hosts[to].answering = Some(from);
                self.with_round(to, |round, now| round.handle_membership(now, &them, &bytes));
                self.hosts[to].answering = None;
            }
            Packets::Refused { exchange } => self.end(to, &them, exchange, Outcome::Failed),
        }
    }

    fn end(&mut self, host: usize, peer: &NodeId, exchange: ExchangeId, outcome: Outcome) {
        self.with_round(host, |round, now| round.handle_exchange(now, peer, exchange, outcome));
    }

    fn merge(&mut self, host: usize, from: usize, page: &Page<R>) -> u32 {
        let now = self.moment(host);
        self.remember(host, from, page.vector.clone());
        let taken = self.hosts[host].replica.merge(now, &page.records);
        let claimed = self.hosts[host].replica.claimed(&page.vector);
        if claimed != R::Histories::default() {
            self.hosts[host].anew.entry(from).or_insert(claimed);
        }
        self.refresh_peers(host);
        taken
    }

    /// Follows the view.
    pub fn refresh_peers(&mut self, host: usize) {
        let now = self.moment(host);
        if let Some(peers) = self.hosts[host].replica.peers(now) {
            self.hosts[host].peers = peers;
            self.tell_peers(host);
        }
    }

    fn remember(&mut self, host: usize, peer: usize, vector: R::Vector) {
        let vectors = &mut self.hosts[host].vectors;
        vectors.insert(peer, vector);
        if vectors.len() > VECTORS_KEPT {
            let drop = *vectors.keys().find(|kept| **kept != peer).unwrap();
            vectors.remove(&drop);
        }
    }
}
