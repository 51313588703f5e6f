//! What an administrator should hear of: hosts that came, went or rose, histories that split, audit logs that shrank.

use std::collections::{BTreeMap, BTreeSet};

use reverie_core::audit::{Actor, Event, Hash, Kind, Outcome, SignedHead, Subject};
use reverie_core::id::NodeId;
use reverie_core::mesh::collection::{AuditHead, Collection, Standing};
use reverie_core::mesh::crypto::Kid;
use reverie_core::mesh::set::Merge;
use reverie_core::mesh::view::View;
use reverie_core::moment::Moment;

/// Subject of the alarm that this host is out.
pub(super) const EVICTED: &str = "mesh, membership";
const EVICTED_MESSAGE: &str = "this host was put out of the mesh; it issues until its intermediate ends or is revoked; \
                               `agentctl mesh readmit` on an authority lets it in again";

/// How things stood at the last look.
#[derive(Default)]
pub(super) struct Noticed {
    standing: BTreeMap<NodeId, Option<Standing>>,
    forks: BTreeSet<NodeId>,
    /// Hosts of whom two next keys followed one.
    rivals: BTreeSet<NodeId>,
    heads: BTreeMap<NodeId, Shown>,
    /// Alarms on audit logs that shrank, and the key that the host used then.
    rewritten: BTreeMap<NodeId, (Option<Kid>, String)>,
}

/// The head of its audit log that a host showed, and the key it used in the mesh then: whoever lost its disk comes back with
/// another, and with an empty log.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shown {
    seq: u64,
    hash: Hash,
    kid: Option<Kid>,
}

/// Something to be told.
pub(super) struct Notice {
    pub(super) event: Option<Event>,
    pub(super) alarm: Option<(String, String)>,
    /// Keys that no longer count: connections by them are to end.
    pub(super) gone: Vec<Kid>,
}

/// What the subjects of alarms on other hosts begin with: histories that split, keys that were disputed, audit logs that shrank.
pub(super) const SUBJECTS: [&str; 3] = [FORKS, RIVALS, REWRITTEN];
const FORKS: &str = "mesh, records of ";
const RIVALS: &str = "mesh, keys of ";
const REWRITTEN: &str = "mesh, audit log of ";

fn fork_subject(node: &NodeId) -> String {
    format!("{FORKS}{node}")
}

fn fork_alarm(node: &NodeId) -> String {
    format!("{}; look at that host, and evict it if in doubt", fork_reason(node))
}

fn fork_reason(node: &NodeId) -> String {
    format!("two histories of {node} exist: it was copied or restored, or its key is in other hands")
}

fn rivals_reason(node: &NodeId) -> String {
    format!("two keys follow one of {node}: the key before is in other hands, or it was copied")
}

fn rivals_alarm(node: &NodeId) -> String {
    format!("{}; look at that host, and end its keys: agentctl mesh readmit {node}", rivals_reason(node))
}

impl Noticed {
    pub(super) fn at_start(view: &View<'_>) -> Self {
        let forks = view.evidence().into_keys().cloned().collect();
        Self { standing: standing(view), forks, rivals: rivals(view), heads: heads(view), rewritten: BTreeMap::new() }
    }

    /// Alarms on other hosts, as they stand now. Each ends with what it is about: the host is out, or has come again.
    pub(super) fn alarms(&mut self, view: &View<'_>) -> Vec<(String, String)> {
        self.rewritten.retain(|node, (kid, _)| view.members().is_in(node) && kid_of(view, node) == *kid);
        let forks = view.evidence().into_keys().map(|node| (fork_subject(node), fork_alarm(node)));
        let rivals = rivals(view).into_iter().map(|node| (format!("{RIVALS}{node}"), rivals_alarm(&node)));
        let rewritten = self.rewritten.iter().map(|(node, (_, why))| (format!("{REWRITTEN}{node}"), why.clone()));
        forks.chain(rivals).chain(rewritten).collect()
    }

    /// What a merge changed. Costs what could have changed.
    pub(super) fn look(&mut self, view: &View<'_>, merge: &Merge, me: &NodeId, now: Moment) -> Vec<Notice> {
        let touched: BTreeSet<Collection> =
            merge.taken.iter().filter_map(|parsed| parsed.fields().ok().map(|fields| fields.collection)).collect();
        let mut notices = vec![];
        let deciding = [Collection::Admissions, Collection::HostKeys, Collection::Evictions, Collection::Confirmations];
        if deciding.iter().any(|kind| touched.contains(kind)) {
            let standing = standing(view);
            notices.extend(standing.iter().filter_map(|(node, now_is)| {
                let before = self.standing.get(node);
                let (kind, reason) = match (before.copied().flatten(), *now_is) {
                    (None, Some(_)) => (Kind::HostAdmitted, "admitted, as the mesh says"),
                    (Some(_), None) if node == me => (Kind::MeshEvicted, "put out of the mesh"),
                    (Some(_), None) => (Kind::HostEvicted, "out, as the mesh says"),
                    (Some(Standing::Member), Some(Standing::Authority)) => (Kind::HostPromoted, "an authority, as the mesh says"),
                    _ => return None,
                };
                let kids = || view.members().get(node).map(|member| member.kids.clone()).unwrap_or_default();
                let gone = if kind == Kind::HostEvicted { kids() } else { vec![] };
                let alarm = (kind == Kind::MeshEvicted).then(|| (EVICTED.to_owned(), EVICTED_MESSAGE.to_owned()));
                Some(Notice { event: Some(event(now, kind, Outcome::Done, node, reason.to_owned())), alarm, gone })
            }));
            self.standing = standing;
            for node in rivals(view) {
                if self.rivals.insert(node.clone()) {
                    let event = event(now, Kind::ForkFound, Outcome::Failed, &node, rivals_reason(&node));
                    let alarm = Some((format!("{RIVALS}{node}"), rivals_alarm(&node)));
                    notices.push(Notice { event: Some(event), alarm, gone: vec![] });
                }
            }
        }
        let forks: BTreeSet<NodeId> = view.evidence().into_keys().cloned().collect();
        for node in forks.difference(&self.forks) {
            let event = event(now, Kind::ForkFound, Outcome::Failed, node, fork_reason(node));
            let alarm = Some((fork_subject(node), fork_alarm(node)));
            notices.push(Notice { event: Some(event), alarm, gone: vec![] });
        }
        self.forks = forks;
        if touched.contains(&Collection::AuditHeads) {
            let heads = heads(view);
            for (node, shown) in &heads {
                let Some(before) = self.heads.get(node).filter(|before| before.kid == shown.kid) else { continue };
                if shown.seq < before.seq || (shown.seq == before.seq && shown.hash != before.hash) {
                    let reason = format!(
                        "its audit log ended at event {} ({}) and now shows event {} ({}): it was rewritten or put back",
                        before.seq, before.hash, shown.seq, shown.hash
                    );
                    let event = event(now, Kind::AuditRewritten, Outcome::Failed, node, reason.clone());
                    self.rewritten.insert(node.clone(), (shown.kid, reason.clone()));
                    let alarm = Some((format!("{REWRITTEN}{node}"), reason));
                    notices.push(Notice { event: Some(event), alarm, gone: vec![] });
                }
            }
            self.heads = heads;
        }
        notices
    }
}

fn event(time: Moment, kind: Kind, outcome: Outcome, node: &NodeId, reason: String) -> Event {
    let subject = Subject { object: Some(node.to_string()), ..Subject::default() };
    Event { time, kind, outcome, actor: Actor::Agent, subject, reason: Some(reason) }
}

fn standing(view: &View<'_>) -> BTreeMap<NodeId, Option<Standing>> {
    view.members().hosts().iter().map(|(node, member)| (node.clone(), member.standing)).collect()
}

fn rivals(view: &View<'_>) -> BTreeSet<NodeId> {
    let disputed = view.members().rotations().iter().filter(|rotation| rotation.record.is_none());
    disputed.filter(|one| view.members().is_in(&one.node)).map(|one| one.node.clone()).collect()
}

fn heads(view: &View<'_>) -> BTreeMap<NodeId, Shown> {
    let shown = view.entries(Collection::AuditHeads).filter_map(|value| {
        let head: AuditHead = minicbor::decode(value.bytes).ok()?;
        let signed: SignedHead = serde_json::from_str(&head.signed).ok()?;
        Some((value.author.clone(), Shown { seq: signed.head.seq, hash: signed.head.hash, kid: kid_of(view, value.author) }))
    });
    shown.collect()
}

fn kid_of(view: &View<'_>, node: &NodeId) -> Option<Kid> {
    view.members().get(node).and_then(|member| member.keys.last()).map(|key| key.signing_key.kid())
}
