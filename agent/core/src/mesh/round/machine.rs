//! The machine itself.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::chance::Chance;
use super::membership::Membership;
use super::peer::{Flight, Owed, Peer};
use super::slide::{Slide, Source};
use super::{Effect, ExchangeId, Inbound, Liveness, Outcome, RoundSettings, Synced};
use crate::id::NodeId;
use crate::moment::Moment;

/// Exchanges that run at the same time; what is more waits in line.
pub const MAX_IN_FLIGHT: usize = 64;
/// Pages in a row with one peer before the others get a turn.
const PAGES_IN_A_ROW: u32 = 64;
/// For a comparison of digests: a few bytes each way.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);
/// Whoever has not answered by then is given more time, but another one is asked too.
const HEDGE: Duration = Duration::from_millis(300);
/// Peers asked at once when the first list of peers comes: we may have been away.
const FIRST_LOOKS: usize = 3;
/// One look in so many goes to a peer that is taken for dead.
const LOOK_AT_THE_DEAD: usize = 8;

/// See the [module](super).
#[derive(Debug)]
pub struct Round {
    me: NodeId,
    settings: RoundSettings,
    chance: Chance,
    /// In the order of their names; places stay until the next list.
    peers: Vec<Peer>,
    slide: Slide,
    /// Places of peers that are owed something, in the order they came up.
    queue: VecDeque<usize>,
    /// When to look at which place again: a deadline, or the end of a pause.
    alarms: BTreeSet<(Moment, usize)>,
    in_flight: usize,
    next_exchange: u64,
    next_look: Moment,
    membership: Membership,
    effects: VecDeque<Effect>,
}

/// A peer as the machine sees it, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerView {
    /// By the membership protocol.
    pub liveness: Liveness,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
    /// Not tried before this by itself.
    pub not_before: Option<Moment>,
}

impl Round {
    /// A machine that knows nobody yet. `epoch` is that of this start ([`crate::ipc::net::MeshIdentity`]); `seed` must be
    /// unpredictable to others and new at each start.
    pub fn new(me: NodeId, epoch: u64, settings: RoundSettings, seed: [u8; 32], now: Moment) -> Self {
        let mut chance = Chance::new(seed);
        let next_look = now.after(chance.around(Duration::from_millis(settings.anti_entropy_ms.into()), 0, 100));
        Self {
            membership: Membership::new(&me, epoch, seed, now),
            me,
            settings,
            chance,
            peers: Vec::new(),
            slide: Slide::default(),
            queue: VecDeque::new(),
            alarms: BTreeSet::new(),
            in_flight: 0,
            next_exchange: 0,
            next_look,
            effects: VecDeque::new(),
        }
    }

    /// Other times and limits, from now on.
    pub fn handle_settings(&mut self, now: Moment, settings: RoundSettings) {
        self.settings = settings;
        self.next_look = self.next_look.min(now.after(self.anti_entropy()));
    }

    /// Whom we may speak with: the whole list, ourselves not needed in it. Whoever is no longer in it is forgotten, and what
    /// runs with it abandoned.
    pub fn handle_peers(&mut self, now: Moment, peers: &[NodeId]) {
        let names: BTreeSet<&NodeId> = peers.iter().filter(|node| **node != self.me).collect();
        if names.len() == self.peers.len() && names.iter().zip(&self.peers).all(|(name, peer)| **name == peer.node) {
            return;
        }
        let first = self.peers.is_empty();
        let mut old = std::mem::take(&mut self.peers).into_iter().peekable();
        for name in names {
            while let Some(gone) = old.next_if(|peer| peer.node < *name) {
                abandon(&mut self.effects, &gone);
            }
            self.peers.push(old.next_if(|peer| peer.node == *name).unwrap_or_else(|| Peer::new(name.clone())));
        }
        old.for_each(|gone| abandon(&mut self.effects, &gone));
        self.number_places_anew();
        self.membership.handle_peers(now, self.peers.iter().map(|peer| &peer.node));
        if first {
            let all = (0..self.peers.len()).collect();
            for place in self.chance.pick(all, FIRST_LOOKS) {
                self.owe(place, Owed::Probe);
            }
        }
        self.settle(now);
    }

    /// We wrote something.
    pub fn handle_local_change(&mut self, now: Moment) {
        self.slide.note(now, Source::Many { local: true }, &self.settings);
        self.settle(now);
    }

    /// A peer began an exchange, and it was merged.
    pub fn handle_merged(&mut self, now: Moment, from: &NodeId, inbound: Inbound) {
        let soon = self.anti_entropy();
        if let Some(place) = self.place(from) {
            let peer = &mut self.peers[place];
            peer.hear(now, soon);
            self.alarms.extend(peer.not_before.map(|until| (until, place)));
            if inbound.equal {
                peer.owed = None;
            }
            if inbound.asks {
                peer.owe(Owed::Push);
                self.enqueue(place);
            }
        }
        self.note_taken(now, from, inbound.taken);
        self.settle(now);
    }

    /// An exchange that was asked for ended. [`Synced::equal`] is by our vector at the time of this call.
    pub fn handle_exchange(&mut self, now: Moment, peer: &NodeId, exchange: ExchangeId, outcome: Outcome) {
        let Some(place) = self.place(peer) else { return };
        let Some(flight) = self.peers[place].flight.take_if(|flight| flight.exchange == exchange) else { return };
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Failed => self.fail(now, place, flight.what),
            Outcome::Equal => self.succeed(now, place),
            Outcome::Differs => {
                self.succeed(now, place);
                self.peers[place].owe(Owed::Push);
            }
            Outcome::Synced(synced) => self.synced(now, place, synced),
        }
        self.enqueue(place);
        self.settle(now);
    }

    /// A membership datagram came over a connection of `from`, whose key was verified.
    pub fn handle_membership(&mut self, now: Moment, from: &NodeId, bytes: &[u8]) {
        self.membership.handle(now, from, bytes);
        self.settle(now);
    }

    /// Tries those that are backed off at once.
    pub fn retry_now(&mut self, now: Moment) {
        for place in 0..self.peers.len() {
            if self.peers[place].not_before.take().is_some() {
                self.owe(place, Owed::Probe);
            }
        }
        self.settle(now);
    }

    /// Tells some peers that we stop, so that nobody has to suspect it.
    pub fn leave(&mut self, now: Moment) {
        self.membership.leave(now);
        self.settle(now);
    }

    /// [`Self::wake`] has come; harmless at any other time.
    pub fn handle_timer(&mut self, now: Moment) {
        while let Some((_, place)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.pop_first();
            self.ring(now, place);
        }
        if now >= self.next_look {
            self.next_look = now.after(self.chance.around(self.anti_entropy(), 80, 120));
            self.look(now);
        }
        self.membership.handle_timer(now);
        self.settle(now);
    }

    /// The next thing to do; `None` if there is nothing more for now.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Self::handle_timer`] is to be called next.
    pub fn wake(&self) -> Moment {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let others = [Some(self.next_look), Some(self.membership.due()), self.slide.due(), alarm];
        others.into_iter().flatten().min().unwrap_or(self.next_look)
    }

    /// What is known of a peer; `None` for somebody whom we may not speak with.
    pub fn peer(&self, node: &NodeId) -> Option<PeerView> {
        let Peer { liveness, failures, not_before, .. } = self.peers[self.place(node)?];
        Some(PeerView { liveness, failures, not_before })
    }

    fn anti_entropy(&self) -> Duration {
        Duration::from_millis(self.settings.anti_entropy_ms.max(1).into())
    }

    fn place(&self, node: &NodeId) -> Option<usize> {
        self.peers.binary_search_by(|peer| peer.node.cmp(node)).ok()
    }

    /// In a mesh this small the author tells everyone.
    fn is_small(&self) -> bool {
        self.peers.len() < self.settings.fan_out_all as usize
    }

    fn number_places_anew(&mut self) {
        self.slide.forget_peers();
        self.queue.clear();
        self.alarms.clear();
        self.in_flight = 0;
        for (place, peer) in self.peers.iter_mut().enumerate() {
            self.in_flight += usize::from(peer.flight.is_some());
            peer.queued = peer.owed.is_some();
            if peer.queued {
                self.queue.push_back(place);
            }
            let flight = peer.flight.iter().flat_map(|flight| flight.hedge.into_iter().chain([flight.deadline]));
            self.alarms.extend(flight.map(|at| (at, place)));
            self.alarms.extend(peer.not_before.map(|until| (until, place)));
        }
    }

    fn owe(&mut self, place: usize, what: Owed) {
        self.peers[place].owe(what);
        self.enqueue(place);
    }

    fn enqueue(&mut self, place: usize) {
        let peer = &mut self.peers[place];
        if peer.owed.is_some() && !peer.queued {
            peer.queued = true;
            self.queue.push_back(place);
        }
    }

    fn note_taken(&mut self, now: Moment, from: &NodeId, taken: u32) {
        if taken > 0 {
            let source = self.place(from).map_or(Source::Many { local: false }, Source::Peer);
            self.slide.note(now, source, &self.settings);
        }
    }

    /// Whatever was said is followed: pushes that are due, exchanges that can begin, news of the membership.
    fn settle(&mut self, now: Moment) {
        if let Some(source) = self.slide.take(now) {
            self.spread(now, source);
        }
        let (datagrams, news) = self.membership.drain();
        self.effects.extend(datagrams);
        for (node, state) in news {
            if let Some(place) = self.place(&node)
                && std::mem::replace(&mut self.peers[place].liveness, state) != state
            {
                self.effects.push_back(Effect::State { node, state });
            }
        }
        self.begin(now);
    }

    /// Decides who is told.
    fn spread(&mut self, now: Moment, source: Source) {
        let teller = if let Source::Peer(place) = source { Some(place) } else { None };
        let others = (0..self.peers.len()).filter(|place| Some(*place) != teller);
        if !self.is_small() {
            let promising = others.filter(|place| self.peers[*place].is_promising(now)).collect();
            let targets = self.chance.pick(promising, fan_out(self.peers.len() + 1));
            // Most of those whom a forwarded rumour reaches have it: a digest finds that out for less than an envelope.
            let what = if source.is_local() { Owed::Push } else { Owed::Probe };
            targets.into_iter().for_each(|place| self.owe(place, what));
        } else if source.is_local() {
            others.for_each(|place| self.owe(place, Owed::Push));
        } else if self.peers.iter().any(Peer::is_impaired) {
            // The author tells everyone it can reach; if we cannot reach all, perhaps neither can it.
            others.for_each(|place| self.owe(place, Owed::Probe));
        }
    }

    fn begin(&mut self, now: Moment) {
        let mut waiting = self.queue.len();
        while waiting > 0 && self.in_flight < MAX_IN_FLIGHT {
            waiting -= 1;
            let Some(place) = self.queue.pop_front() else { return };
            let peer = &mut self.peers[place];
            peer.queued = false;
            // Whoever has something running, or is backed off, is queued again when that ends.
            if peer.flight.is_some() || peer.is_backed_off(now) {
                continue;
            }
            let Some(what) = peer.owed.take() else { continue };
            self.next_exchange += 1;
            let exchange = ExchangeId(self.next_exchange);
            let longest = Duration::from_millis(self.settings.exchange_ms.into());
            let deadline = now.after(if what == Owed::Push { longest } else { longest.min(PROBE_DEADLINE) });
            let hedge = now.after(HEDGE);
            peer.flight = Some(Flight { exchange, what, deadline, hedge: Some(hedge) });
            self.in_flight += 1;
            self.alarms.extend([(hedge, place), (deadline, place)]);
            let to = peer.node.clone();
            self.effects.push_back(match what {
                Owed::Push => Effect::Push { to, exchange },
                Owed::Probe => Effect::Probe { to, exchange },
            });
        }
    }

    fn succeed(&mut self, now: Moment, place: usize) {
        let peer = &mut self.peers[place];
        peer.succeed();
        if peer.liveness == Liveness::Down {
            let node = peer.node.clone();
            self.membership.greet(now, &node);
        }
    }

    fn synced(&mut self, now: Moment, place: usize, synced: Synced) {
        let node = self.peers[place].node.clone();
        if synced.more && !synced.progressed {
            // Pages that bring nothing and do not end: it is broken, or plays.
            return self.fail(now, place, Owed::Probe);
        }
        self.succeed(now, place);
        let peer = &mut self.peers[place];
        if synced.equal {
            peer.owed = None;
        }
        if synced.more {
            peer.pages += 1;
            peer.owe(Owed::Push);
            if peer.pages.is_multiple_of(PAGES_IN_A_ROW) {
                let until = now.after(Duration::from_millis(self.settings.slide_max_ms.into()));
                peer.not_before = Some(until);
                self.alarms.insert((until, place));
            }
        } else {
            peer.pages = 0;
        }
        self.note_taken(now, &node, synced.taken);
    }

    fn fail(&mut self, now: Moment, place: usize, what: Owed) {
        let longest = Duration::from_millis(self.settings.back_off_max_ms.into());
        let peer = &mut self.peers[place];
        peer.fail(now, longest, &mut self.chance);
        if what == Owed::Push {
            peer.owe(Owed::Push);
        }
        self.alarms.extend(peer.not_before.map(|until| (until, place)));
        if !self.is_small() && self.peers[place].owed.take() == Some(Owed::Push) {
            self.make_up(now);
        }
    }

    /// A deadline or a pause may have ended.
    fn ring(&mut self, now: Moment, place: usize) {
        let Some(peer) = self.peers.get_mut(place) else { return };
        if let Some(flight) = peer.flight.take_if(|flight| flight.deadline <= now) {
            self.in_flight = self.in_flight.saturating_sub(1);
            self.effects.push_back(Effect::Abandon { to: peer.node.clone(), exchange: flight.exchange });
            self.fail(now, place, flight.what);
        }
        let peer = &mut self.peers[place];
        if let Some(flight) = &mut peer.flight
            && flight.hedge.take_if(|hedge| *hedge <= now).is_some()
        {
            self.make_up(now);
        }
        self.enqueue(place);
    }

    /// Somebody does not answer, or not soon: among many, another one will do as well.
    fn make_up(&mut self, now: Moment) {
        let idle = |peer: &Peer| peer.flight.is_none() && peer.is_promising(now);
        let others = (0..self.peers.len()).filter(|place| idle(&self.peers[*place])).collect();
        for other in self.chance.pick(others, 1) {
            self.owe(other, Owed::Probe);
        }
    }

    /// Anti-entropy: compares with one peer at random.
    fn look(&mut self, now: Moment) {
        let idle = |peer: &Peer| peer.flight.is_none() && !peer.is_backed_off(now);
        let (dead, living): (Vec<usize>, Vec<usize>) = (0..self.peers.len())
            .filter(|place| idle(&self.peers[*place]))
            .partition(|place| self.peers[*place].liveness == Liveness::Down);
        let from = if living.is_empty() || !dead.is_empty() && self.chance.one_in(LOOK_AT_THE_DEAD) { dead } else { living };
        for place in self.chance.pick(from, 1) {
            self.owe(place, Owed::Probe);
        }
    }
}

fn abandon(effects: &mut VecDeque<Effect>, gone: &Peer) {
    if let Some(flight) = gone.flight {
        effects.push_back(Effect::Abandon { to: gone.node.clone(), exchange: flight.exchange });
    }
}

/// `⌈2 ln n⌉`: when each tells so many, a rumour misses a given one of n hosts with a chance of about 1/n².
fn fan_out(hosts: usize) -> usize {
    (2.0 * (hosts as f64).ln()).ceil() as usize
}
