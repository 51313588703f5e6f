//! The mesh core by what can go wrong: a hostile net, a crash, a restored disk, a wrong clock.

mod answers;
mod certificates;
mod channel;
mod collecting;
mod crash;
mod figures;
mod hosts;
mod joining;
mod large;
mod members;
mod merge;
mod overlap;
mod restore;
mod tokens;
mod view;
mod wrapping;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reverie_core::api::admin::SealStatus;
use reverie_core::config::{Source, parse};
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Merged, Reply, Request};
use reverie_core::mesh::collection::{Admission, Collection, Standing, key};
use reverie_core::mesh::vector::VersionVector;
use zeroize::Zeroizing;

use super::answering::answer;
use super::clients::Client;
use super::writing::write;
use super::{Draft, founding};
use crate::keeper::state::{AuditOptions, Change, Options, State};
use crate::keeper::{Keeper, assemble, clock};
use crate::ops::host::{Host, Scope};
use crate::ops::policy::Policy;

/// A host with a directory of its own, and no sockets.
pub(in crate::keeper) struct Agent {
    keeper: Arc<Keeper>,
}

impl std::ops::Deref for Agent {
    type Target = Arc<Keeper>;
    fn deref(&self) -> &Arc<Keeper> {
        &self.keeper
    }
}

fn node(name: &str) -> NodeId {
    format!("{name}.example.org").parse().unwrap()
}

fn options(directory: PathBuf) -> Options {
    let audit = AuditOptions { rotate_bytes: 16 << 20, keep: 0, admin_gid: None };
    Options { directory, audit, now: clock::now() }
}

impl Agent {
    async fn open(directory: &Path, name: &str) -> Self {
        Self::configured(directory, name, "").await
    }

    /// With more in its configuration.
    pub(in crate::keeper) async fn configured(directory: &Path, name: &str, more: &str) -> Self {
        let place = directory.display();
        let text = format!(
            "trust_domain = \"example.org\"\nnode_id = \"{}\"\n[paths]\nrun = \"{place}/run\"\nstate = \"{place}/state\"\n{more}",
            node(name)
        );
        let config = parse(Source { file: "agent.toml", text: &text }, &[]).unwrap();
        let host = Host::new(&config, Scope::User).unwrap();
        let state = State::open(options(host.state.clone()), &Zeroizing::new([7; 32])).unwrap();
        let seal = SealStatus { mode: "file".to_owned(), pcrs: vec![], remark: None };
        let policy = Policy::new(config, Scope::User);
        let keeper = assemble(directory.join("agent.toml"), host, state, policy, vec![], seal, false, clock::now());
        Self { keeper: keeper.await.unwrap() }
    }

    /// As at a stop in good order.
    async fn close(self) {
        let state = self.keeper.state.clone();
        tokio::task::spawn_blocking(move || state.close()).await.unwrap();
    }

    async fn found(&self) {
        founding::found(self, vec![], Change::default()).await.unwrap();
    }

    /// Lets `newcomer` in as that, and has it adopt the mesh.
    async fn admit(&self, newcomer: &Agent, standing: Standing) {
        let ring = founding::prepare(newcomer, Change::default()).await.unwrap();
        let (signing_key, kem_key) = ring.current.public();
        let who = newcomer.host.node_id.clone();
        let name = key::admission(&who, &signing_key.kid());
        let admission = Admission {
            node: who,
            signing_key,
            kem_key: Some(kem_key),
            standing,
            by: "token".to_owned(),
            despite: Default::default(),
        };
        let draft = Draft::put(Collection::Admissions, name, &admission).unwrap();
        write(self, vec![draft], Change::default()).await.unwrap();
        let (records, _, more) = self.mesh.records(&VersionVector::default(), 1 << 20);
        assert!(!more);
        let anchor = self.mesh.anchor().unwrap();
        founding::adopt(newcomer, anchor, records, false, Change::default()).await.unwrap();
    }

    async fn ask(&self, request: Request) -> Reply {
        answer(self, request).await
    }

    async fn merge(&self, from: &Agent, records: Vec<Vec<u8>>) -> Merged {
        let (from, vector) = (from.host.node_id.clone(), from.mesh.vector());
        match self.ask(Request::Merge { from, records, vector, more: None }).await {
            Reply::Merged(merged) => merged,
            other => panic!("{other:?}"),
        }
    }

    /// Takes what `other` has more.
    async fn pull(&self, other: &Agent) -> Merged {
        let (records, _, _) = other.mesh.records(&self.mesh.vector(), 4 << 20);
        self.merge(other, records).await
    }

    /// A record of this host that its own keeper would not write, signed all the same. Nothing is stored of it here.
    fn forge(&self, draft: Draft) -> Vec<u8> {
        let ring = self.mesh.keys().unwrap();
        let mut held = self.mesh.change();
        let author = &mut held.core.as_mut().unwrap().author;
        let signer = &ring.current.signing;
        author.write(draft.collection, &draft.key, draft.value, clock::now(), signer).unwrap().to_bytes()
    }

    async fn put_client(&self, id: &str) {
        let client = Client { display_name: Some(id.to_owned()) };
        let draft = Draft::put(Collection::Clients, id, &client).unwrap();
        write(self, vec![draft], Change::default()).await.unwrap();
    }

    fn has_client(&self, id: &str) -> bool {
        self.mesh.look(|view| view.get(Collection::Clients, id).is_some()).unwrap()
    }

    fn digest(&self) -> [u8; 32] {
        self.mesh.read().core.as_ref().unwrap().durable.0
    }

    fn audit(&self) -> String {
        self.state.audit_lines(0, 10_000).unwrap().join("\n")
    }
}

/// A founder and a member, each in a directory of its own.
async fn two() -> (tempfile::TempDir, Agent, Agent) {
    let directory = tempfile::tempdir().unwrap();
    let founder = Agent::open(&directory.path().join("a"), "a").await;
    founder.found().await;
    let member = Agent::open(&directory.path().join("b"), "b").await;
    founder.admit(&member, Standing::Member).await;
    founder.pull(&member).await;
    (directory, founder, member)
}
