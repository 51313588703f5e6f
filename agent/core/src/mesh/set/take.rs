//! Filing a verified record, and dropping what it displaces.

use std::sync::OnceLock;

use super::keys::Grant;
use super::ledger::Ledger;
use super::{Entry, Evidence, NONE, Offered, Refusal, Set, short};
use crate::id::NodeId;
use crate::mesh::collection::{Collection, Drawer, Floor};
use crate::mesh::crypto::Kid;
use crate::mesh::record::{Fields, Hash, Parsed, Verified};
use crate::mesh::vector::Position;

/// What a record meets in its slot.
enum Slot {
    /// Nothing, or what it replaces.
    Free(Option<u32>),
    /// Itself.
    Same,
    /// A later one.
    Later,
    /// Another statement at the same position that stands before it.
    Rival(u32),
}

impl Set {
    /// Takes a verified record.
    pub fn take(&mut self, record: Verified) -> Offered {
        let Verified(parsed) = record;
        let Ok(fields) = parsed.fields() else { return Offered::Superseded };
        let collection = fields.collection;
        let author = self.author(&parsed.author);
        match self.slot(author, &parsed, &fields) {
            Slot::Same => Offered::Known,
            Slot::Later => Offered::Superseded,
            Slot::Rival(standing) => {
                let standing = self.entries[standing as usize].raw.clone();
                self.keep_evidence(&parsed.author, parsed.position, standing, parsed.raw);
                Offered::Fork
            }
            Slot::Free(replaced) => {
                let drawer = collection.drawer(fields.key, fields.author);
                let ledger = &self.ledgers[author as usize];
                let newest = ledger.drawer(drawer).next_back().is_none_or(|(last, _)| parsed.position > last);
                // What would fall out at once is not even filed.
                if collection.only_grows() && newest && ledger.count(drawer) >= self.share(drawer) {
                    return Offered::Refused(Refusal::Limit);
                }
                let fork = self.look_for_fork(author, &parsed, &fields);
                self.file(author, parsed, replaced)
                    .map_or(Offered::Refused(Refusal::Limit), |displaced| Offered::Taken { displaced, fork })
            }
        }
    }

    /// What becomes of a record without looking at its signature, where that is certain: the very same statement stands, or
    /// a later one in its place.
    pub fn standing_of(&self, parsed: &Parsed) -> Option<Offered> {
        let author = self.author_number(&parsed.author)?;
        let fields = parsed.fields().ok()?;
        match self.slot(author, parsed, &fields) {
            Slot::Same => Some(Offered::Known),
            Slot::Later => Some(Offered::Superseded),
            Slot::Free(_) | Slot::Rival(_) => None,
        }
    }

    fn slot(&self, author: u32, parsed: &Parsed, fields: &Fields<'_>) -> Slot {
        let ledger = &self.ledgers[author as usize];
        if fields.collection.only_grows() {
            let same = |id| self.entry(id).fields().statement == fields.statement;
            return if ledger.at(parsed.position).any(same) { Slot::Same } else { Slot::Free(None) };
        }
        if parsed.position <= ledger.floor && fields.collection != Collection::Floors {
            return Slot::Later;
        }
        let Some(standing) = self.find(author, fields) else { return Slot::Free(None) };
        let entry = self.entry(standing);
        let other = entry.fields();
        // A floor never comes down, whatever its author says later.
        let (new, old) = (floor_of(fields), floor_of(&other));
        match (new, parsed.position).cmp(&(old, entry.position)) {
            std::cmp::Ordering::Less => Slot::Later,
            std::cmp::Ordering::Greater => Slot::Free(Some(standing)),
            std::cmp::Ordering::Equal if other.statement == fields.statement => Slot::Same,
            std::cmp::Ordering::Equal if parsed.hash > other.hash() => Slot::Free(Some(standing)),
            std::cmp::Ordering::Equal => Slot::Rival(standing),
        }
    }

    fn find(&self, author: u32, fields: &Fields<'_>) -> Option<u32> {
        let mut id = *self.by_key.get(&(fields.collection, short(fields.key)))?;
        while id != NONE {
            let entry = self.entry(id);
            if entry.author == author && entry.key() == fields.key {
                return Some(id);
            }
            id = entry.next;
        }
        None
    }

    /// Two statements at one position, a next one that names another predecessor than the one held, or one in an earlier epoch
    /// that a later epoch does not know of.
    fn look_for_fork(&mut self, author: u32, parsed: &Parsed, fields: &Fields<'_>) -> bool {
        let ledger = &self.ledgers[author as usize];
        let rival = ledger.at(parsed.position).next();
        let before = Position { seq: parsed.position.seq - 1, ..parsed.position };
        let named = |id: &u32| {
            let held = if before == ledger.head.0 { ledger.head.1 } else { self.entry(*id).hash() };
            held != *fields.prev
        };
        let after = Position { seq: parsed.position.seq.saturating_add(1), ..parsed.position };
        let names = |id: &u32| after != parsed.position && *self.entry(*id).fields().prev != parsed.hash;
        let proof = rival.or_else(|| ledger.at(before).next().filter(named)).or_else(|| ledger.at(after).next().filter(names));
        let Some(proof) = proof.or_else(|| self.between_epochs(ledger, parsed, fields)) else { return false };
        let proof = self.entry(proof);
        let (position, raw) = (proof.position.min(parsed.position), proof.raw.clone());
        self.keep_evidence(&parsed.author, position, raw, parsed.raw.clone());
        true
    }

    /// A record in an earlier epoch beyond what this one's author knew when its epoch began, or one of a later epoch that began
    /// without knowing this one. Of earlier epochs the last is looked at, of the next one its first.
    fn between_epochs(&self, ledger: &Ledger, parsed: &Parsed, fields: &Fields<'_>) -> Option<u32> {
        let begun = Position { epoch: parsed.position.epoch, seq: 0 };
        let earlier = ledger.last_below(begun).filter(|(position, _)| *position > fields.before).map(|(_, id)| id);
        let next = Position { epoch: parsed.position.epoch + 1, seq: 0 };
        earlier.or_else(|| {
            let (_, id) = ledger.after(next).next()?;
            (self.entry(id).fields().before < parsed.position).then_some(id)
        })
    }

    /// Takes back what [`Self::evidence`] said before a restart.
    pub fn recall(&mut self, first: &[u8], second: &[u8]) {
        let (Ok(first), Ok(second)) = (Parsed::new(first), Parsed::new(second)) else { return };
        if first.author == second.author && first.hash != second.hash {
            self.keep_evidence(&first.author, first.position.min(second.position), first.raw, second.raw);
        }
    }

    /// The latest is kept, and of several at one position the greatest: hosts that saw the same keep the same, and a host that
    /// came back with new keys is not spared for what was known of its old ones.
    fn keep_evidence(&mut self, author: &NodeId, position: Position, a: Box<[u8]>, b: Box<[u8]>) {
        let order = |evidence: &Evidence| {
            let hash = |raw: &[u8]| Fields::read_filed(raw).hash();
            (evidence.position, hash(&evidence.first), hash(&evidence.second))
        };
        let hash = |raw: &[u8]| Fields::read_filed(raw).hash();
        let (first, second) = if hash(&a) <= hash(&b) { (a, b) } else { (b, a) };
        let evidence = Evidence { position, first, second };
        if self.evidence.get(author).is_none_or(|known| order(&evidence) > order(known)) {
            self.evidence.insert(author.clone(), evidence);
        }
    }

    /// `None` if it falls out at once, since its author holds as much as it may.
    fn file(&mut self, author: u32, parsed: Parsed, replaced: Option<u32>) -> Option<Vec<Hash>> {
        let Ok(fields) = parsed.fields() else { return None };
        let (collection, stamp, tombstone) = (fields.collection, fields.stamp, fields.value.is_none());
        let chain = (collection, short(fields.key));
        let counted = self.uncount(chain);
        let mut displaced: Vec<Hash> = replaced.map(|id| self.remove(id)).into_iter().collect();
        let drawer = collection.drawer(fields.key, fields.author);
        let grant = Grant::of(&fields);
        let floor = floor_of(&fields);
        let kid = self.kid_number(author, parsed.kid);

        let next = self.by_key.get(&chain).copied().unwrap_or(NONE);
        self.bytes += parsed.raw.len();
        let (position, hash, raw) = (parsed.position, parsed.hash, parsed.raw);
        let entry = Entry { raw, position, stamp, author, kid, next, collection, tombstone };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.by_key.insert(chain, id);
        if !collection.is_lasting() {
            self.by_stamp.insert((stamp.wall, id));
        }
        let ledger = &mut self.ledgers[author as usize];
        ledger.insert(drawer, position, id);
        ledger.added(&hash);
        if (position, hash) > ledger.head {
            ledger.head = (position, hash);
        }
        self.digest = OnceLock::new();
        self.recount(chain, counted);
        if let Some(floor) = floor {
            self.raise_floor(author, floor, &mut displaced);
        }
        self.keep_within_limits(author, drawer, &mut displaced);
        if displaced.last() == Some(&hash) {
            return None;
        }
        // Only now: what fell out grants nothing.
        if let (Some(grant), Some(keys)) = (grant, self.keys.get_mut()) {
            keys.note(parsed.kid, grant);
        }
        Some(displaced)
    }

    /// Everything replaceable at or below the floor goes; what lives was said again above it.
    fn raise_floor(&mut self, author: u32, floor: Position, displaced: &mut Vec<Hash>) {
        let ledger = &mut self.ledgers[author as usize];
        ledger.floor = ledger.floor.max(floor);
        let below: Vec<u32> = ledger.replaceable_below(ledger.floor).collect();
        displaced.extend(below.into_iter().map(|id| self.drop_entry(id)));
    }

    /// Beyond an author's share of a collection its oldest entries go, of what only grows its newest. An entry that fell out
    /// once would fall out of every greater set as well: as many of the same collection stand before it, and the position
    /// under a key only rises.
    fn keep_within_limits(&mut self, author: u32, drawer: Drawer, displaced: &mut Vec<Hash>) {
        while self.ledgers[author as usize].count(drawer) > self.share(drawer) {
            let ledger = &self.ledgers[author as usize];
            let of =
                |end: Option<(Position, u32)>| ledger.drawer_at(drawer, end.map(|(position, _)| position).unwrap_or_default());
            let hash = |id: &u32| self.entry(*id).hash();
            // Of two statements at one position the hash decides, not which came first.
            let out = match drawer.collection.only_grows() {
                true => of(ledger.drawer(drawer).next_back()).max_by_key(hash),
                false => of(ledger.drawer(drawer).next()).min_by_key(hash),
            };
            let Some(id) = out else { return };
            displaced.push(self.drop_entry(id));
        }
    }

    fn drop_entry(&mut self, id: u32) -> Hash {
        let entry = self.entry(id);
        let chain = (entry.collection, short(entry.key()));
        let counted = self.uncount(chain);
        let hash = self.remove(id);
        self.recount(chain, counted);
        hash
    }

    /// Takes an entry out of every index.
    fn remove(&mut self, id: u32) -> Hash {
        let entry = self.entry(id);
        let fields = entry.fields();
        let (hash, chain) = (fields.hash(), (entry.collection, short(fields.key)));
        let (position, stamp, author, next) = (entry.position, entry.stamp, entry.author, entry.next);
        let (drawer, length) = (entry.collection.drawer(fields.key, fields.author), entry.raw.len());
        let grants = Grant::of(&fields).is_some();

        let mut before = self.by_key.get(&chain).copied().unwrap_or(NONE);
        if before == id {
            match next {
                NONE => drop(self.by_key.remove(&chain)),
                next => drop(self.by_key.insert(chain, next)),
            }
        } else {
            while before != NONE && self.entry(before).next != id {
                before = self.entry(before).next;
            }
            if before != NONE {
                self.entries[before as usize].next = next;
            }
        }
        self.by_stamp.remove(&(stamp.wall, id));
        let ledger = &mut self.ledgers[author as usize];
        ledger.remove(drawer, position, id);
        ledger.removed(&hash);
        self.bytes -= length;
        self.entries[id as usize].raw = Box::default();
        self.free.push(id);
        self.digest = OnceLock::new();
        if grants {
            self.keys = OnceLock::new();
        }
        if self.ledgers[author as usize].head == (position, hash) {
            let head = self.head_of(author);
            self.ledgers[author as usize].head = head;
        }
        hash
    }

    fn head_of(&self, author: u32) -> (Position, Hash) {
        let ledger = &self.ledgers[author as usize];
        let Some((position, _)) = ledger.last() else { return (Position::default(), [0; 32]) };
        let hash = ledger.at(position).map(|id| self.entry(id).hash()).max().unwrap_or_default();
        (position, hash)
    }

    fn author(&mut self, node: &NodeId) -> u32 {
        if let Some(author) = self.author_number(node) {
            return author;
        }
        let author = self.ledgers.len() as u32;
        self.ledgers.push(Ledger::new(node.clone()));
        self.authors.insert(node.clone(), author);
        author
    }

    fn kid_number(&mut self, author: u32, kid: Kid) -> u32 {
        if let Some(number) = self.kid_numbers.get(&(author, kid)) {
            return *number;
        }
        let number = self.kids.len() as u32;
        self.kids.push((author, kid));
        self.kid_numbers.insert((author, kid), number);
        if let Some(members) = self.members.get_mut() {
            members.number(&self.ledgers[author as usize].node, kid);
        }
        number
    }
}

/// The floor a record raises; `None` for all others.
fn floor_of(fields: &Fields<'_>) -> Option<Position> {
    let value = fields.value.filter(|_| fields.collection == Collection::Floors)?;
    minicbor::decode::<Floor>(value).ok().map(|floor| floor.collected)
}
