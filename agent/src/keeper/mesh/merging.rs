//! Taking what others said: every signature is verified here, whatever net says; all of it is durable before the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Merged, Reply};
use reverie_core::mesh::crypto::Kid;
use reverie_core::mesh::record::{Hash, Parsed, Verified};
use reverie_core::mesh::set::{Keys, Merge, Refusal};
use reverie_core::mesh::vector::{Position, VersionVector};
use reverie_core::mesh::view::View;
use reverie_core::moment::Moment;
use reverie_crypto::aws::Aws;

use super::founding::membership_of;
use super::rows::Phase;
use super::{CLONED, Core, Held, Mesh, clock};
use crate::keeper::Keeper;
use crate::keeper::state::{Change, StateError, Write};

/// Records in one question.
const MAX_RECORDS: usize = 65_536;
/// Reasons told of.
const MAX_REASONS: usize = 8;
/// How long a chain of keys may be that is introduced in one message; what is signed after it waits for the next.
const MAX_INTRODUCTIONS: usize = 32;
/// Fewer than this are verified by one thread.
const WORTH_THREADS: usize = 16;

/// What net handed over.
pub(super) struct Handed {
    pub(super) from: NodeId,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) vector: VersionVector,
    /// They were asked for by our vector, and there are more; `None`: they came unasked.
    pub(super) more: Option<bool>,
}

/// Verifies on all cores, then takes and stores. Goes on to its end even if nobody waits any more.
pub(super) async fn merge(keeper: &Arc<Keeper>, handed: Handed) -> Reply {
    if handed.records.len() > MAX_RECORDS {
        return Reply::Refused { status: 413, message: format!("more than {MAX_RECORDS} records at once") };
    }
    let keeper = Arc::clone(keeper);
    let task = async move {
        let Ok(_turn) = keeper.mesh.verifying.acquire().await else { return stopping() };
        let verifying = Arc::clone(&keeper);
        let verified = tokio::task::spawn_blocking(move || {
            let verdicts = verifying.mesh.verify(&handed.records);
            (handed, verdicts)
        });
        let Ok((handed, verdicts)) = verified.await else { return stopping() };
        take(&keeper, handed, verdicts).await
    };
    tokio::spawn(task).await.unwrap_or_else(|_| stopping())
}

fn stopping() -> Reply {
    Reply::Failed { message: "the agent is stopping".to_owned() }
}

/// What the signatures in a message came to: found out before any of it is taken, and not again.
#[derive(Default)]
struct Verdicts {
    /// Those that hold, by name. Of two signatures over one statement only the very bytes that were verified count.
    good: BTreeMap<Hash, Parsed>,
    /// Those that do not.
    forged: BTreeSet<Hash>,
    /// Authors whose records were not looked at.
    put_off: BTreeSet<NodeId>,
}

impl Verdicts {
    /// Whatever was not verified waits for its key, and comes again.
    fn of(&self, parsed: Parsed) -> Result<Verified, Refusal> {
        match self.good.get(&parsed.hash()) {
            Some(good) if good.bytes() == parsed.bytes() => Ok(parsed.trusted()),
            _ if self.forged.contains(&parsed.hash()) => Err(Refusal::BadSignature),
            _ if self.put_off.contains(parsed.author()) => Err(Refusal::PutOff),
            _ => Err(Refusal::UnknownKey),
        }
    }
}

impl Mesh {
    /// Verifies what is new. Records may introduce the keys of others in the same message, some after others.
    fn verify(&self, records: &[Vec<u8>]) -> Verdicts {
        let (mut keys, mut waiting) = {
            let held = self.read();
            let Some(core) = &held.core else { return Verdicts::default() };
            let parsed = records.iter().filter_map(|record| Parsed::new(record).ok());
            // One of our own that we never wrote tells also where a later one hides it.
            let new: Vec<Parsed> =
                parsed.filter(|parsed| core.is_foreign_of_ours(parsed) || core.set.standing_of(parsed).is_none()).collect();
            (core.set.keys().clone(), new)
        };
        let mut verdicts = Verdicts::default();
        let begun = Instant::now();
        waiting.retain(|parsed| {
            let admitted = self.budgets().admits(parsed.author(), begun);
            if !admitted && !verdicts.put_off.contains(parsed.author()) {
                verdicts.put_off.insert(parsed.author().clone());
            }
            admitted
        });
        for _ in 0..MAX_INTRODUCTIONS {
            let (ready, rest) = waiting.into_iter().partition(|parsed| keys.admits(parsed));
            let ready: Vec<Parsed> = ready;
            waiting = rest;
            if ready.is_empty() {
                break;
            }
            let names: Vec<Hash> = ready.iter().map(Parsed::hash).collect();
            for (name, answer) in names.into_iter().zip(verify_on_all_cores(&keys, ready)) {
                match answer {
                    Ok(verified) => {
                        keys.learn(&verified);
                        verdicts.good.insert(name, verified.parsed().clone());
                    }
                    Err(Refusal::BadSignature) => drop(verdicts.forged.insert(name)),
                    Err(_) => {}
                }
            }
        }
        let mut taken: BTreeMap<&NodeId, usize> = BTreeMap::new();
        verdicts.good.values().for_each(|parsed| *taken.entry(parsed.author()).or_default() += 1);
        taken.into_iter().for_each(|(author, records)| self.budgets().spend(author, records, begun));
        verdicts
    }
}

pub(super) fn verify_on_all_cores(keys: &Keys, records: Vec<Parsed>) -> Vec<Result<Verified, Refusal>> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(8);
    if records.len() < WORTH_THREADS || cores == 1 {
        return records.into_iter().map(|record| keys.verify(record, &Aws)).collect();
    }
    let each = records.len().div_ceil(cores);
    let mut parts: Vec<Vec<Parsed>> = vec![];
    let mut records = records.into_iter();
    loop {
        let part: Vec<Parsed> = records.by_ref().take(each).collect();
        if part.is_empty() {
            break;
        }
        parts.push(part);
    }
    std::thread::scope(|scope| {
        let work = |part: Vec<Parsed>| move || part.into_iter().map(|record| keys.verify(record, &Aws)).collect::<Vec<_>>();
        let lengths: Vec<usize> = parts.iter().map(Vec::len).collect();
        let threads: Vec<_> = parts.into_iter().map(|part| scope.spawn(work(part))).collect();
        let answers = threads.into_iter().zip(lengths).map(|(thread, length)| {
            // A thread that failed verified nothing.
            thread.join().unwrap_or_else(|_| (0..length).map(|_| Err(Refusal::BadSignature)).collect())
        });
        answers.flatten().collect()
    })
}

/// What was taken, before it is durable.
struct Taken {
    merge: Merge,
    own_unknown: bool,
    events: Vec<Event>,
    file: Vec<(u64, Vec<u8>)>,
    drop: Vec<u64>,
    /// Further rows: evidence, and how far everything has come after a join.
    rows: Vec<Write>,
    wanted_anew: Vec<NodeId>,
    /// Keys of hosts that are out since.
    gone: Vec<Kid>,
}

async fn take(keeper: &Arc<Keeper>, handed: Handed, verdicts: Verdicts) -> Reply {
    let mesh = &keeper.mesh;
    let _turn = mesh.turn().await;
    let now = clock::now();
    // Many records take their time, and others wait for this thread.
    let (taking, from) = (Arc::clone(keeper), handed.from.clone());
    let taken = tokio::task::spawn_blocking(move || take_at_once(&taking, &handed, &verdicts, now)).await;
    let taken = match taken {
        Ok(Ok(taken)) => taken,
        Ok(Err(reply)) => return reply,
        Err(_) => return stopping(),
    };
    let Taken { merge, own_unknown, mut events, file, drop, rows, wanted_anew, gone } = taken;
    if !gone.is_empty() {
        Mesh::disconnect(keeper, gone);
    }
    mesh.refused.fetch_add(merge.refused.len() as u64, Ordering::Relaxed);
    ::metrics::counter!("reverie_mesh_records_refused_total").increment(merge.refused.len() as u64);
    events.extend(refusals(keeper, &from, &merge, now));
    let mut rows = rows;
    if own_unknown {
        events.push(stop_writing(keeper, &from, now));
        if let Some(core) = &mesh.read().core
            && let Ok(write) = membership_of(core, Phase::Cloned).write()
        {
            rows.push(write);
        }
    }
    let mut writes = rows.clone();
    if !file.is_empty() || !drop.is_empty() {
        writes.push(Write::Records { file: file.clone(), drop: drop.clone() });
    }
    let stored = match writes.is_empty() && events.is_empty() {
        true => Ok(()),
        false => keeper.commit(Change { writes, events }).await.map(|_| ()),
    };
    if stored.is_err()
        && let Some(core) = &mut mesh.change().core
    {
        core.unsaved_rows = rows;
    }
    finish(keeper, &merge, stored, file, drop, wanted_anew)
}

fn take_at_once(keeper: &Keeper, handed: &Handed, verdicts: &Verdicts, now: Moment) -> Result<Taken, Reply> {
    let mesh = &keeper.mesh;
    let mut held = mesh.change();
    let in_no_mesh = || Reply::Failed { message: "this host is in no mesh".to_owned() };
    if !matches!(held.phase, Phase::In | Phase::Cloned) {
        return Err(in_no_mesh());
    }
    let ours = held.keys.as_ref().map(|ring| ring.kids()).unwrap_or_default();
    let core = held.core.as_mut().ok_or_else(in_no_mesh)?;
    let mut taken = core.take_all(handed, verdicts, &ours, now);
    match core.arrive(handed, &taken.merge) {
        Ok(write) => taken.rows.extend(write),
        Err(error) => return Err(Reply::Failed { message: error.to_string() }),
    }
    let mut noticed = mesh.noticed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let notices = noticed.look(&View::of(&core.set, now), &taken.merge, &core.node, now);
    for notice in notices {
        if let Some((subject, message)) = notice.alarm {
            keeper.alarms.raise(subject, message);
        }
        taken.events.extend(notice.event);
        taken.gone.extend(notice.gone);
    }
    Ok(taken)
}

fn finish(
    keeper: &Keeper,
    merge: &Merge,
    stored: Result<(), StateError>,
    file: Vec<(u64, Vec<u8>)>,
    drop: Vec<u64>,
    wanted_anew: Vec<NodeId>,
) -> Reply {
    let mesh = &keeper.mesh;
    let mut held = mesh.change();
    let Some(core) = &mut held.core else { return stopping() };
    if let Err(error) = stored {
        mesh.persist_errors.fetch_add(1, Ordering::Relaxed);
        ::metrics::counter!("reverie_mesh_persist_errors_total").increment(1);
        core.unsaved.extend(file);
        core.rows.restore(drop);
        return Reply::Failed { message: error.to_string() };
    }
    core.settle();
    let (digest, vector) = core.durable.clone();
    std::mem::drop(held);
    if !merge.taken.is_empty() {
        mesh.merged.fetch_add(merge.taken.len() as u64, Ordering::Relaxed);
        ::metrics::counter!("reverie_mesh_records_merged_total").increment(merge.taken.len() as u64);
        mesh.publish();
    }
    let reason = |(author, why): &(Option<NodeId>, Refusal)| match author {
        Some(author) => format!("{author}: {why}"),
        None => why.to_string(),
    };
    Reply::Merged(Merged {
        taken: u32::try_from(merge.taken.len()).unwrap_or(u32::MAX),
        refused: merge.refused.iter().take(MAX_REASONS).map(reason).collect(),
        forged: merge.refused.iter().any(|(_, why)| matches!(why, Refusal::BadSignature)),
        wanted_anew,
        digest,
        vector,
    })
}

impl Core {
    /// `ours`: the keys that we have now. What was said in our name with others is of an earlier life of this host, which
    /// ended with an eviction: it says nothing of a copy.
    fn take_all(&mut self, handed: &Handed, verdicts: &Verdicts, ours: &[Kid], now: Moment) -> Taken {
        let forks_before: Vec<NodeId> = self.set.evidence().keys().cloned().collect();
        let unknown = self.unknown_of_ours(handed, verdicts, ours);
        let merge =
            self.set.merge_with(&handed.records, |_, asked| asked.into_iter().map(|parsed| verdicts.of(parsed)).collect());
        for parsed in &merge.taken {
            if let Ok(fields) = parsed.fields() {
                self.author.hear(fields.stamp, now);
            }
        }
        let own_unknown = unknown.is_some();
        if let Some(position) = unknown {
            // So that a new epoch lies beyond.
            self.author.stop(position);
        }
        let of_earlier_lives = merge.taken.iter().filter(|parsed| *parsed.author() == self.node && !ours.contains(&parsed.kid()));
        if let Some(last) = of_earlier_lives.map(Parsed::position).max()
            && self.author.is_foreign(last)
            && !own_unknown
        {
            self.author.stop(last);
            self.author.resume(&self.set, now);
        }
        let mut wanted_anew: Vec<NodeId> = merge.forks.iter().filter(|fork| !forks_before.contains(fork)).cloned().collect();
        // Only a claim, until a record shows it.
        if self.author.is_foreign(handed.vector.get(&self.node)) && !own_unknown && !wanted_anew.contains(&self.node) {
            wanted_anew.push(self.node.clone());
        }
        let (file, drop) = self.rows_of(&merge);
        // With those that an earlier failure left.
        let mut rows = std::mem::take(&mut self.unsaved_rows);
        rows.extend(super::evidence::writes(&self.set, &merge));
        Taken { merge, own_unknown, events: vec![], file, drop, rows, wanted_anew, gone: vec![] }
    }

    /// Rows for what was taken, and for what an earlier failure left.
    fn rows_of(&mut self, merge: &Merge) -> (Vec<(u64, Vec<u8>)>, Vec<u64>) {
        let mut file = std::mem::take(&mut self.unsaved);
        file.extend(merge.taken.iter().map(|parsed| (self.rows.add(&parsed.hash()), parsed.bytes().to_vec())));
        merge.displaced.iter().for_each(|hash| self.rows.displace(hash));
        let drop = self.rows.take_stale();
        if !drop.is_empty() {
            let gone: std::collections::BTreeSet<u64> = drop.iter().copied().collect();
            file.retain(|(number, _)| !gone.contains(number));
        }
        (file, drop)
    }

    /// The last position of records of ours, validly signed, that we never wrote; also of those that a later one would hide.
    fn unknown_of_ours(&self, handed: &Handed, verdicts: &Verdicts, ours: &[Kid]) -> Option<Position> {
        let records = handed.records.iter().filter_map(|record| Parsed::new(record).ok());
        let foreign = records.filter(|parsed| self.is_foreign_of_ours(parsed) && ours.contains(&parsed.kid()));
        let valid = foreign.filter_map(|parsed| verdicts.of(parsed).ok());
        valid.map(|verified| verified.parsed().position()).max()
    }

    fn is_foreign_of_ours(&self, parsed: &Parsed) -> bool {
        *parsed.author() == self.node && self.author.is_foreign_record(parsed.position(), &parsed.hash())
    }
}

impl Held {
    pub(super) fn is_cloned(&self) -> bool {
        self.phase == Phase::Cloned
    }
}

/// Stops at once; durable with the merge.
fn stop_writing(keeper: &Keeper, from: &NodeId, now: Moment) -> Event {
    let mesh = &keeper.mesh;
    mesh.change().phase = Phase::Cloned;
    raise_cloned(keeper);
    let subject = Subject { object: Some(keeper.host.node_id.to_string()), ..Subject::default() };
    let reason = Some(format!("{from} has records of this host that it did not write: it was copied or restored"));
    Event { time: now, kind: Kind::CloneFound, outcome: Outcome::Failed, actor: Actor::Agent, subject, reason }
}

/// Raises the alarm that stands until an administrator resumes.
pub(super) fn raise_cloned(keeper: &Keeper) {
    keeper.alarms.raise(CLONED, super::MeshError::Cloned.to_string());
}

/// Signatures that do not hold are worth an event, within the budget; records that wait for a key are not.
fn refusals(keeper: &Keeper, from: &NodeId, merge: &Merge, now: Moment) -> Option<Event> {
    let serious = |why: &Refusal| matches!(why, Refusal::BadSignature | Refusal::Malformed(_) | Refusal::Limit);
    let mut refused = merge.refused.iter().filter(|(_, why)| serious(why));
    let (author, why) = refused.next()?;
    let others = refused.count();
    let author = author.as_ref().map_or_else(|| "unreadable".to_owned(), ToString::to_string);
    let reason = match others {
        0 => format!("{why} (from {from})"),
        others => format!("{why} (from {from}, and {others} more)"),
    };
    let subject = Subject { object: Some(author), ..Subject::default() };
    let event = Event {
        time: now,
        kind: Kind::RecordRefused,
        outcome: Outcome::Denied,
        actor: Actor::Agent,
        subject,
        reason: Some(reason),
    };
    keeper.denials.admit_peer(event)
}
