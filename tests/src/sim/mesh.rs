//! A mesh of [`Member`]s, and beside it the reference model: what was acknowledged, and what must never show.

use std::collections::{BTreeMap, BTreeSet};

use reverie_core::id::NodeId;
use reverie_core::mesh::author::Author;
use reverie_core::mesh::collection::{Collection, Standing};
use reverie_core::mesh::crypto::Signer;
use reverie_core::mesh::record::{CONTEXT, Parsed, Record, Stamp, Statement};
use reverie_core::mesh::set::{Anchor, Set};
use reverie_core::mesh::vector::Position;
use reverie_core::moment::Moment;

use super::member::{Member, OWN};
use super::network::Network;
use super::stand_in::Key;
use super::world::{BEGIN, SETTINGS, World, name};

/// Values of writes that nobody may see begin with this.
pub const EVIL: &[u8] = b"evil";
/// Keys each host writes under.
const KEYS: usize = 6;

/// The last word of a host on one of its keys.
#[derive(Debug, Clone)]
struct Word {
    value: Option<Vec<u8>>,
    position: Position,
}

pub struct Mesh {
    pub world: World<Member>,
    words: BTreeMap<(usize, String), Word>,
    /// Of each client the last word of all authorities, by its stamp: a value, or that there is none.
    clients: BTreeMap<String, ((Stamp, NodeId), Option<Vec<u8>>)>,
    /// Those that write clients.
    authorities: Vec<usize>,
    /// Tombstones are collected though not everyone is known to have them: to see that the model notices.
    pub careless: bool,
    /// What each host wrote where, by value: for what came after an eviction.
    written: BTreeMap<Vec<u8>, (usize, Position)>,
    /// Up to where an evicted host counts.
    evicted: BTreeMap<usize, Position>,
    /// Hosts that do not keep the rules: nothing is promised to them.
    pub rogues: BTreeSet<usize>,
    /// Hosts that were restored, and up to where of what they wrote.
    restored: BTreeMap<usize, (Position, Position)>,
    /// Of them, those that must notice, if others know more of them than they do.
    noticing: BTreeSet<usize>,
    counter: u64,
    pub writes: u64,
    /// Tombstones that were collected.
    pub collected: usize,
}

impl Mesh {
    /// Host 0 founded it; the others are admitted, and have what they got when they joined.
    pub fn new(seed: u64, hosts: usize, network: Network) -> Self {
        let founder = name(0);
        let anchor = Anchor { node: founder.clone(), key: Key::of(founder.as_str(), 0).public_key().clone() };
        let now = Moment::from_millis(BEGIN - 1000);
        let mut first = Member::new(founder.clone(), &anchor, &[], now);
        first.admit(&founder, Standing::Authority, "founding", now);
        for host in 1..hosts {
            first.admit(&name(host), Standing::Member, "token", now);
        }
        let records = first.snapshot();
        let begin = Moment::from_millis(BEGIN);
        let members = (0..hosts).map(|host| Member::new(name(host), &anchor, &records, begin)).collect();
        let mut world = World::new(seed, network, SETTINGS, members);
        for host in 0..hosts {
            world.start(host);
        }
        Self {
            world,
            words: BTreeMap::new(),
            clients: BTreeMap::new(),
            authorities: vec![0],
            careless: false,
            written: BTreeMap::new(),
            evicted: BTreeMap::new(),
            rogues: BTreeSet::new(),
            restored: BTreeMap::new(),
            noticing: BTreeSet::new(),
            counter: 0,
            writes: 0,
            collected: 0,
        }
    }

    pub fn hosts(&self) -> usize {
        self.world.hosts.len()
    }

    pub fn any_host(&mut self) -> usize {
        let hosts = self.hosts();
        self.world.chance.below(hosts)
    }

    /// A random write of a random host that is up.
    pub fn write_something(&mut self) {
        let host = self.any_host();
        self.write(host);
    }

    pub fn write(&mut self, host: usize) {
        if !self.world.is_up(host) {
            return;
        }
        let chosen = self.world.chance.below(KEYS);
        let key = format!("family-{chosen}-{host}");
        self.counter += 1;
        let length = self.world.chance.below(400);
        let value = self.world.chance.happens(0.75).then(|| {
            let mut value = format!("{:08}", self.counter).into_bytes();
            value.resize(8 + length, b'.');
            value
        });
        let now = self.world.moment(host);
        // Whoever noticed that it was copied writes no more.
        let Ok((position, _)) = self.world.hosts[host].replica.write(OWN, &key, value.as_deref(), now) else { return };
        self.writes += 1;
        if let Some(value) = &value {
            self.written.insert(value.clone(), (host, position));
        }
        // Nothing is promised to whoever is out or plays false.
        if !self.evicted.contains_key(&host) && !self.rogues.contains(&host) {
            self.words.insert((host, key), Word { value, position });
        }
        self.world.changed(host);
    }

    /// An authority provisions a client, or removes one, whoever provisioned it.
    pub fn provision(&mut self) {
        let chosen = self.world.chance.below(self.authorities.len());
        let host = self.authorities[chosen];
        if !self.world.is_up(host) {
            return;
        }
        self.counter += 1;
        let key = format!("client-{}", self.world.chance.below(KEYS));
        // More removals where there are two, so that there is something to collect.
        let lives = if self.authorities.len() > 1 { 0.35 } else { 0.75 };
        let value = self.world.chance.happens(lives).then(|| format!("{:08} client", self.counter).into_bytes());
        let now = self.world.moment(host);
        if let Ok((_, stamp)) = self.world.hosts[host].replica.write(Collection::Clients, &key, value.as_deref(), now) {
            let order = (stamp, name(host));
            if self.clients.get(&key).is_none_or(|(known, _)| *known < order) {
                self.clients.insert(key, (order, value));
            }
            self.world.changed(host);
        }
    }

    /// From now on a host writes clients as host 0 does.
    pub fn promote(&mut self, host: usize) {
        let now = self.world.moment(0);
        self.world.hosts[0].replica.admit(&name(host), Standing::Authority, "promotion", now);
        self.authorities.push(host);
        self.world.changed(0);
    }

    /// A host collects its tombstones, if it knows that all who are in have them.
    pub fn collect(&mut self, host: usize) {
        let peers = self.world.hosts[host].peers.clone();
        let others = (0..self.hosts()).filter(|other| *other != host && peers.contains(&name(*other)));
        let live = others.map(|other| Some((name(other), (**self.world.vector_of(host, other)?).clone())));
        let live: Option<BTreeMap<_, _>> = if self.careless { Some(BTreeMap::new()) } else { live.collect() };
        let now = self.world.moment(host);
        if let Some(live) = live.filter(|_| self.world.is_up(host)) {
            self.collected += self.world.hosts[host].replica.collect(&live, now);
            self.world.changed(host);
        }
    }

    pub fn stop(&mut self, host: usize) {
        self.world.stop(host);
    }

    /// Starts again from what it stored.
    pub fn start(&mut self, host: usize) {
        if !self.world.is_up(host) {
            let stored = self.world.hosts[host].replica.snapshot();
            self.start_from(host, &stored);
            // By now it may have got back what it lost; then there is nothing to notice.
            self.noticing.remove(&host);
        }
    }

    fn start_from(&mut self, host: usize, stored: &[Box<[u8]>]) {
        let now = self.world.moment(host);
        self.world.hosts[host].replica.restart(stored, now);
        self.world.start(host);
        self.world.refresh_peers(host);
    }

    /// Starts from an older copy of its store.
    pub fn restore(&mut self, host: usize, copy: &[Box<[u8]>]) {
        self.world.stop(host);
        let node = name(host);
        let wrote = self.world.hosts[host].replica.set.heard(&node);
        self.start_from(host, copy);
        let kept = self.world.hosts[host].replica.set.heard(&node);
        self.restored.insert(host, (kept, wrote));
        self.noticing.insert(host);
        // What nobody else had is gone with the disk.
        self.words.retain(|(author, _), word| *author != host || word.position <= kept);
    }

    pub fn evict(&mut self, victim: usize) {
        let now = self.world.moment(0);
        let node = name(victim);
        self.evicted.insert(victim, self.world.hosts[0].replica.set.heard(&node));
        self.world.hosts[0].replica.evict(&node, now);
        self.words.retain(|(author, _), _| *author != victim);
        self.world.refresh_peers(0);
        self.world.changed(0);
    }

    /// A host that writes where it may not, in the names of others, and two histories of its own.
    pub fn misbehave(&mut self, host: usize) {
        self.rogues.insert(host);
        self.words.retain(|(author, _), _| *author != host);
        let victim = (host + 1) % self.hosts();
        let now = self.world.moment(host);
        let member = &mut self.world.hosts[host].replica;
        let evil = |what: &str| Some([EVIL, what.as_bytes()].concat());
        for (collection, key) in [
            (Collection::Clients, "client-0"),
            (Collection::Users, "root"),
            (Collection::Scopes, "all"),
            (Collection::Hbac, "any"),
        ] {
            let _ = member.write(collection, key, evil("policy").as_deref(), now);
        }
        // More than a page, so that its history is one of several.
        for number in 0..60 {
            let _ = member.write(OWN, &format!("long-{number}"), Some(&[b'.'; 300]), now);
        }
        // Signed with its own key in another's name, at a place the other has not reached.
        let (position, prev) = member.set.head(&name(victim));
        let forged = Statement {
            collection: OWN,
            key: format!("family-0-{victim}"),
            author: name(victim),
            kid: Key::of(name(victim).as_str(), 0).public_key().kid(),
            position: Position { seq: position.seq + 1, ..position },
            prev,
            before: Position::default(),
            stamp: Default::default(),
            value: evil("forged"),
        };
        let signature = member.key.sign(&[CONTEXT, &forged.to_bytes()].concat()).unwrap();
        let forged = Record { statement: forged, signature }.to_bytes();
        // Two statements at one place.
        let mut twin: Author = member.author.clone();
        let mut other = twin.clone();
        let fork = [
            twin.write(OWN, "fork", evil("").map(|_| b"one".to_vec()), now, &member.key).unwrap().to_bytes(),
            other.write(OWN, "fork", evil("").map(|_| b"two".to_vec()), now, &member.key).unwrap().to_bytes(),
        ];
        for (side, fork) in member.smuggled.iter_mut().zip(fork) {
            side.push(forged.clone().into_boxed_slice());
            side.push(fork.into_boxed_slice());
        }
        self.world.changed(host);
    }

    /// Those that must agree: up, in the mesh, and honest.
    fn honest(&self) -> Vec<usize> {
        (0..self.hosts()).filter(|host| !self.evicted.contains_key(host) && !self.rogues.contains(host)).collect()
    }

    pub fn agree(&self) -> bool {
        let mut digests = self.honest().into_iter().map(|host| self.world.hosts[host].replica.set.digest());
        let first = digests.next();
        digests.all(|digest| Some(digest) == first)
    }

    /// Everyone is up and nothing is cut or lost any more; gives the microseconds until all agree.
    pub fn settle(&mut self) -> Result<u64, String> {
        self.world.network.loss = 0.0;
        let begun = self.world.now;
        for host in 0..self.hosts() {
            self.start(host);
        }
        while !self.agree() {
            if self.world.now > begun + 240_000_000 {
                return Err(format!("no agreement four minutes after all faults ended: {}", self.disagreement()));
            }
            self.world.run_for(50_000);
        }
        Ok(self.world.now - begun)
    }

    fn disagreement(&self) -> String {
        let honest = self.honest();
        let sets: Vec<&Set> = honest.iter().map(|host| &self.world.hosts[*host].replica.set).collect();
        let authors: BTreeSet<NodeId> = sets.iter().flat_map(|set| set.vector().0.into_keys()).collect();
        let mut text = String::new();
        for author in authors {
            let heard: Vec<_> =
                sets.iter().map(|set| (set.heard(&author), set.summary().get(&author).map(|(_, hash)| hash[0]))).collect();
            if heard.iter().any(|line| *line != heard[0]) {
                text += &format!("\n  of {author}: ");
                for (host, (position, hash)) in honest.iter().zip(&heard) {
                    text += &format!(" {host}:{}/{}#{:02x}", position.epoch % 1_000_000, position.seq, hash.unwrap_or(0));
                }
            }
        }
        text
    }

    /// The model's verdict.
    pub fn check(&self) -> Result<(), String> {
        let honest = self.honest();
        let latest = honest.iter().map(|host| self.world.moment(*host)).max().unwrap_or(Moment::from_millis(BEGIN));
        let views: Vec<_> = honest.iter().map(|host| self.world.hosts[*host].replica.shown(latest)).collect();
        if let Some(place) = views.iter().position(|view| *view != views[0]) {
            return Err(format!("equal digests and other views: hosts {} and {}", honest[0], honest[place]));
        }
        let shown = &views[0];
        for (collection, key, author, value) in shown {
            if value.starts_with(EVIL) {
                return Err(format!("an unauthorised write shows: {collection:?} {key} by {author}"));
            }
            if let Some((host, position)) = self.written.get(value)
                && self.evicted.get(host).is_some_and(|until| position > until)
            {
                return Err(format!("a write after its author's eviction shows: {key} of {author}"));
            }
        }
        for ((host, key), word) in &self.words {
            let author = name(*host);
            let found = shown.iter().find(|(_, shown, by, _)| shown == key && *by == author).map(|(_, _, _, value)| value);
            let is_lost = self.restored.get(host).is_some_and(|(kept, wrote)| word.position > *kept && word.position <= *wrote);
            if found != word.value.as_ref() && !is_lost {
                return Err(format!(
                    "what host {host} was told is written under {key} at {:?} does not show: {} instead of {}",
                    word.position,
                    found.map_or("nothing".into(), |value| String::from_utf8_lossy(&value[..8]).into_owned()),
                    word.value.as_ref().map_or("nothing".into(), |value| String::from_utf8_lossy(&value[..8]).into_owned()),
                ));
            }
        }
        for (key, ((_, author), value)) in &self.clients {
            let found = shown.iter().find(|(collection, shown, ..)| *collection == Collection::Clients && shown == key);
            if found.map(|(.., value)| value) != value.as_ref() {
                return Err(match (found, value) {
                    (Some((.., by, _)), None) => format!("{key}, which {author} removed, is back as {by} wrote it"),
                    _ => format!("{key} is not as {author} was told that it is written: {found:?} instead of {value:?}"),
                });
            }
        }
        for (host, (kept, wrote)) in &self.restored {
            let member = &self.world.hosts[*host].replica;
            let lost = |record: &[u8]| {
                let position = Parsed::new(record).unwrap().position();
                position > *kept && position <= *wrote
            };
            // Where later writes replaced all of it before anyone could tell, no trace is left to notice it by.
            let traces = member.set.history(&name(*host)).any(lost);
            if traces && self.noticing.contains(host) && member.author.cloned().is_none() {
                return Err(format!("host {host} was restored and did not notice"));
            }
        }
        Ok(())
    }
}
