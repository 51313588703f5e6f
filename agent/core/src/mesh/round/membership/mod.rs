//! Who is there: SWIM by the crate `foca`, between the peers of the view only.
//!
//! What others say about a third host is their word. It orders whom we talk to and cuts off nobody: a peer that is taken for
//! dead is still tried, and what it sends is still taken.

mod datagram;
mod identity;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use foca::{Config, Foca, Member, Message, NoCustomBroadcast, Notification, PeriodicParams, Runtime, State, Timer};
use rand_chacha::ChaCha8Rng;

use self::datagram::{Datagram, Wire};
use self::identity::{Incarnate, NodeTag};
use super::chance::Chance;
use super::{Effect, Liveness, MAX_DATAGRAM};
use crate::id::NodeId;
use crate::moment::Moment;

/// One peer is asked in every such time.
const PROBE_PERIOD: Duration = Duration::from_secs(2);
/// How long it may take before others are asked to ask it.
const PROBE_ANSWER: Duration = Duration::from_millis(600);
/// Relayed epochs lie at most so far in the future: one says too much of another host would drive its epoch to the end.
const EPOCH_AHEAD: Duration = Duration::from_secs(3600);
/// We take up a new identity at most once in this time, whatever others say of us.
const REJOIN_PAUSE: Duration = Duration::from_millis(500);
/// How often suspicion is looked for; foca does not report it.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Membership {
    me: NodeTag,
    foca: Foca<Incarnate, Wire, ChaCha8Rng, NoCustomBroadcast>,
    known: BTreeMap<NodeTag, NodeId>,
    timers: BTreeMap<(Moment, u64), Timer<Incarnate>>,
    scheduled: u64,
    collected: Collected,
    suspects: BTreeSet<NodeTag>,
    rejoined: Option<Moment>,
    look: Moment,
}

#[derive(Default)]
struct Collected {
    datagrams: Vec<(Incarnate, Vec<u8>)>,
    timers: Vec<(Duration, Timer<Incarnate>)>,
    news: Vec<(NodeTag, Liveness)>,
}

impl Runtime<Incarnate> for Collected {
    fn notify(&mut self, notification: Notification<'_, Incarnate>) {
        let news = match notification {
            // Peers are put in with epoch 0 before anything was heard of them.
            Notification::MemberUp(who) => (who.node, if who.epoch == 0 { Liveness::Unknown } else { Liveness::Alive }),
            Notification::MemberDown(who) => (who.node, Liveness::Down),
            Notification::Rename(old, new) if old.epoch == 0 => (new.node, Liveness::Alive),
            _ => return,
        };
        self.news.push(news);
    }

    fn send_to(&mut self, to: Incarnate, data: &[u8]) {
        self.datagrams.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Incarnate>, after: Duration) {
        self.timers.push((after, event));
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("identity", self.foca.identity()).field("members", &self.foca.num_members()).finish()
    }
}

fn config(hosts: usize) -> Config {
    let size = u32::try_from(hosts).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let lan = Config::new_lan(size);
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_ANSWER,
        suspect_to_down_after: lan.suspect_to_down_after * 2,
        // Peers are those of the view: they are not discovered, and forgotten when they leave the view.
        periodic_announce: None,
        remove_down_after: None,
        periodic_announce_to_down_members: Some(PeriodicParams {
            frequency: Duration::from_secs(20),
            num_members: NonZeroUsize::MIN,
        }),
        max_packet_size: NonZeroUsize::new(MAX_DATAGRAM).unwrap_or(NonZeroUsize::MIN),
        ..lan
    }
}

impl Membership {
    pub(super) fn new(me: &NodeId, epoch: u64, seed: [u8; 32], now: Moment) -> Self {
        let me = NodeTag::of(me);
        let identity = Incarnate { node: me, epoch: epoch.max(1) };
        Self {
            me,
            foca: Foca::new(identity, config(1), Chance::stream(seed, 1), Wire),
            known: BTreeMap::new(),
            timers: BTreeMap::new(),
            scheduled: 0,
            collected: Collected::default(),
            suspects: BTreeSet::new(),
            rejoined: None,
            look: now.after(LOOK),
        }
    }

    /// Everyone but us.
    pub(super) fn handle_peers<'a>(&mut self, now: Moment, peers: impl Iterator<Item = &'a NodeId>) {
        let known: BTreeMap<NodeTag, NodeId> = peers.map(|node| (NodeTag::of(node), node.clone())).collect();
        let gone: Vec<Incarnate> = self.foca.iter_membership_state().map(|member| *member.id()).collect();
        for id in gone.into_iter().filter(|id| !known.contains_key(&id.node)) {
            let _ = self.foca.apply_many(std::iter::once(Member::down(id)), false, &mut self.collected);
            let _ = self.foca.handle_timer(Timer::RemoveDown(id), &mut self.collected);
            self.suspects.remove(&id.node);
        }
        let _ = self.foca.set_config(config(known.len() + 1));
        let new = known.keys().filter(|tag| !self.known.contains_key(tag));
        let new: Vec<_> = new.map(|tag| Member::alive(Incarnate { node: *tag, epoch: 0 })).collect();
        self.known = known;
        let _ = self.foca.apply_many(new.into_iter(), false, &mut self.collected);
        self.schedule(now);
    }

    /// A datagram over a connection of `from`.
    pub(super) fn handle(&mut self, now: Moment, from: &NodeId, bytes: &[u8]) {
        if bytes.len() > MAX_DATAGRAM {
            return;
        }
        let Ok(mut datagram) = Datagram::parse(bytes) else { return };
        if self.judge(now, from, &mut datagram)
            && let Ok(bytes) = datagram.to_bytes()
        {
            let _ = self.foca.handle_data(&bytes, &mut self.collected);
        }
        self.schedule(now);
    }

    /// Whether foca is to see it, and what of it.
    fn judge(&mut self, now: Moment, from: &NodeId, datagram: &mut Datagram) -> bool {
        let Datagram { header, updates } = datagram;
        let undead = header.message == Message::TurnUndead;
        // A host speaks for itself: the connection says who it is. Epoch 0 is nobody's.
        let genuine = header.src.node == NodeTag::of(from) && header.src.epoch != 0 && header.dst.node == self.me;
        if !genuine || !self.known.contains_key(&header.src.node) {
            return false;
        }
        let latest = u64::try_from(now.after(EPOCH_AHEAD).as_millis()).unwrap_or(0);
        let own = *self.foca.identity();
        // Somebody has a later life of ours: from before our clock was set back, or invented. We outbid it.
        let ours = updates.iter().map(Member::id).chain([&header.dst]).filter(|id| id.node == self.me);
        let highest = ours.map(|id| id.epoch).filter(|epoch| *epoch <= latest).max();
        if let Some(highest) = highest.filter(|highest| *highest > own.epoch)
            && self.may_rejoin(now)
        {
            let identity = Incarnate { node: self.me, epoch: highest + 1 };
            let _ = self.foca.change_identity(identity, &mut self.collected);
        }
        updates.retain(|update| {
            let id = update.id();
            let of_us = *id == own && update.state() != State::Alive;
            of_us || id.node != self.me && id.epoch <= latest && self.known.contains_key(&id.node)
        });
        if undead {
            return header.dst == *self.foca.identity() && self.may_rejoin(now);
        }
        // Who does not know our epoch addresses us by 0; one that was ours means us too.
        header.dst = *self.foca.identity();
        true
    }

    fn may_rejoin(&mut self, now: Moment) -> bool {
        let may = self.rejoined.is_none_or(|last| now >= last.after(REJOIN_PAUSE));
        if may {
            self.rejoined = Some(now);
        }
        may
    }

    /// An exchange with a peer that is taken for dead succeeded: let it know, so that it can take up a new life.
    pub(super) fn greet(&mut self, now: Moment, node: &NodeId) {
        let tag = NodeTag::of(node);
        let id = self.foca.iter_membership_state().map(|member| *member.id()).find(|id| id.node == tag);
        if let Some(id) = id {
            let _ = self.foca.announce(id, &mut self.collected);
        }
        self.schedule(now);
    }

    pub(super) fn leave(&mut self, now: Moment) {
        let _ = self.foca.leave_cluster(&mut self.collected);
        self.schedule(now);
    }

    pub(super) fn due(&self) -> Moment {
        self.timers.keys().next().map_or(self.look, |(at, _)| self.look.min(*at))
    }

    pub(super) fn handle_timer(&mut self, now: Moment) {
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            let timer = entry.remove();
            let _ = self.foca.handle_timer(timer, &mut self.collected);
            self.schedule(now);
        }
        if now >= self.look {
            self.look = now.after(LOOK);
            self.look_for_suspects();
        }
    }

    fn look_for_suspects(&mut self) {
        let suspects: BTreeSet<NodeTag> =
            self.foca.iter_members().filter(|member| member.state() == State::Suspect).map(|member| member.id().node).collect();
        for tag in suspects.difference(&self.suspects) {
            self.collected.news.push((*tag, Liveness::Suspect));
        }
        for member in self.foca.iter_members().filter(|member| self.suspects.contains(&member.id().node)) {
            if member.state() == State::Alive && member.id().epoch != 0 {
                self.collected.news.push((member.id().node, Liveness::Alive));
            }
        }
        self.suspects = suspects;
    }

    fn schedule(&mut self, now: Moment) {
        for (after, timer) in self.collected.timers.drain(..) {
            self.scheduled += 1;
            self.timers.insert((now.after(after), self.scheduled), timer);
        }
    }

    /// What is to be done since the last call: datagrams and changes of state, in the order they came up.
    pub(super) fn drain(&mut self) -> (Vec<Effect>, Vec<(NodeId, Liveness)>) {
        let Self { collected, known, .. } = self;
        let datagrams = collected.datagrams.drain(..);
        // Nobody hears a farewell to a life that was never heard of.
        let sensible = datagrams.filter(|(to, bytes)| to.epoch != 0 || !is_farewell(bytes));
        let effects = sensible.filter_map(|(to, bytes)| Some(Effect::Datagram { to: known.get(&to.node)?.clone(), bytes }));
        let news = collected.news.drain(..).filter_map(|(tag, state)| Some((known.get(&tag)?.clone(), state)));
        (effects.collect(), news.collect())
    }
}

fn is_farewell(bytes: &[u8]) -> bool {
    Datagram::parse(bytes).is_ok_and(|datagram| datagram.header.message == Message::TurnUndead)
}
