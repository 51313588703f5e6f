//! Several hosts in one process. What net would carry is carried by hand: between two that ask and answer there is no
//! network, no TLS and no envelope, so what is tested here is what the keeper sees to by itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reverie_core::api::mesh::{InviteRequest, Invited, JoinRequest as Asked};
use reverie_core::audit::Actor;
use reverie_core::ipc::net::{PeerState, TaskKind};
use reverie_core::mesh::crypto::Signer;
use reverie_core::mesh::join::request::{JoinRequest, from_body};
use reverie_core::mesh::round::Liveness;

use super::*;
use crate::keeper::identity::lifecycle;
use crate::keeper::mesh::trouble::Trouble;
use crate::keeper::mesh::{initiation, inviting, joining, trust};
use crate::keeper::svid;

/// How far a task gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// All the way and back.
    Open,
    /// The other host does it, and its answer is lost.
    AnswersLost,
    /// Someone ends the connection in the middle: each side has another exporter.
    TwoConnections,
}

/// Hosts that reach each other by name.
pub struct Hosts {
    directory: tempfile::TempDir,
    path: Mutex<Path>,
    exporters: AtomicU64,
    /// Requests to join as they went over the wire.
    pub seen: Mutex<Vec<JoinRequest>>,
}

impl Hosts {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, path: Mutex::new(Path::Open), exporters: AtomicU64::new(1), seen: Mutex::default() }
    }

    pub fn set_path(&self, path: Path) {
        *self.path.lock().unwrap() = path;
    }

    /// A host with a root of its own; `disk` tells apart two that bear one name.
    pub async fn start(&self, name: &str, disk: &str) -> Agent {
        self.start_with(name, disk, "").await
    }

    pub async fn start_with(&self, name: &str, disk: &str, more: &str) -> Agent {
        let agent = Agent::configured(&self.directory.path().join(disk), name, more).await;
        lifecycle::bring_up_to_date(&agent).await.unwrap();
        agent
    }

    /// A second disk with all that a stopped host has on its own.
    pub fn copy(&self, disk: &str, to: &str) {
        let (from, to) = (self.directory.path().join(disk), self.directory.path().join(to));
        let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
        assert!(copied.success());
    }

    /// Founds a mesh on `a`.
    pub async fn founded(&self) -> Agent {
        let founder = self.start("a", "a").await;
        initiation::init(&founder, Default::default(), Actor::Agent).await.unwrap();
        founder
    }

    /// `b` joins `a` by token.
    pub async fn two(&self) -> (Agent, Agent) {
        let founder = self.founded().await;
        let member = self.start("b", "b").await;
        self.join(&member, &invite(&founder, "b").await.token, &[&founder]).await.unwrap();
        self.sync(&founder, &member).await;
        (founder, member)
    }

    /// The same, both settled, each knowing what the other said.
    pub async fn settled(&self) -> (Agent, Agent) {
        let (founder, member) = self.two().await;
        for _ in 0..2 {
            settle(&founder).await;
            settle(&member).await;
            self.sync(&founder, &member).await;
        }
        settle(&founder).await;
        settle(&member).await;
        (founder, member)
    }

    /// Has `joiner` join by a token, with `others` on the network.
    pub async fn join(&self, joiner: &Agent, token: &str, others: &[&Agent]) -> Result<(), Trouble> {
        let asked = Asked { address: "a.example.org:7438".to_owned(), token: Some(token.to_owned()) };
        self.while_carrying(joiner, others, joining::join(joiner, asked, Actor::Agent)).await
    }

    /// Does something on `agent` that waits for net.
    pub async fn while_carrying<T>(&self, agent: &Agent, others: &[&Agent], work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.carry(agent, others) => unreachable!(),
        }
    }

    async fn carry(&self, agent: &Agent, others: &[&Agent]) {
        loop {
            for task in agent.mesh.tasks.list() {
                let outcome = self.carry_out(agent, others, task.number, &task.what).await;
                agent.ask(Request::Report { task: task.number, outcome }).await;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn carry_out(&self, agent: &Agent, others: &[&Agent], task: u64, what: &TaskKind) -> Result<Vec<u8>, String> {
        let path = *self.path.lock().unwrap();
        let find = |name: &str| others.iter().find(|other| other.host.node_id.as_str() == name).ok_or("nobody answers");
        let reply = match what {
            TaskKind::Join { address, server_key } => {
                let server = find(address.trim_end_matches(":7438"))?;
                if server.mesh.keys().unwrap().speaking.signing.public_key() != server_key {
                    return Err("it presents another key".to_owned());
                }
                let number = self.exporters.fetch_add(1, Ordering::Relaxed);
                let (ours, mut theirs) = ([number as u8; 32], [number as u8; 32]);
                if path == Path::TwoConnections {
                    theirs[0] ^= 0xff;
                }
                let body = match agent.ask(Request::PrepareJoin { task, exporter: ours }).await {
                    Reply::Body { body, .. } => body,
                    other => return Err(format!("{other:?}")),
                };
                let request = from_body(&body, theirs).unwrap();
                self.seen.lock().unwrap().push(request.clone());
                server.ask(Request::Join(request)).await
            }
            TaskKind::Renew { authority, payload } => {
                let (node, kid) = (agent.host.node_id.clone(), agent.mesh.keys().unwrap().speaking.kid());
                find(authority.as_str())?.ask(Request::Renew { node, kid, payload: payload.clone() }).await
            }
            TaskKind::PullWrappingKey { from, nonce } => {
                let node = agent.host.node_id.clone();
                find(from.as_str())?.ask(Request::WrappingKey { caller: Some(node.clone()), node, nonce: Some(*nonce) }).await
            }
            TaskKind::JoinByKerberos { .. } => return Err("no KDC here".to_owned()),
            TaskKind::Disconnect { .. } | TaskKind::RetryNow => return Ok(vec![]),
        };
        match reply {
            Reply::Sealable { payload, .. } if path != Path::AnswersLost => Ok(payload),
            Reply::Sealable { .. } => Err("the connection broke".to_owned()),
            Reply::Refused { status, message } => Err(format!("{status}: {message}")),
            other => Err(format!("{other:?}")),
        }
    }

    /// Both have what the other has, and know that of each other.
    pub async fn sync(&self, one: &Agent, other: &Agent) {
        one.pull(other).await;
        other.pull(one).await;
        for (at, of) in [(one, other), (other, one)] {
            let epoch = at.mesh.read().core.as_ref().map(|core| core.author.position().epoch);
            let mut state = PeerState { state: Liveness::Alive, agreed_in: epoch, ..PeerState::new(of.host.node_id.clone()) };
            state.compare(&of.mesh.vector(), &at.host.node_id, &at.mesh.vector());
            at.ask(Request::Peers(vec![state])).await;
        }
    }
}

/// What the tasks of the keeper do: lists are signed, token keys are made, the view is followed, and what happened is said.
pub async fn settle(at: &Agent) {
    lifecycle::bring_up_to_date(at).await.unwrap();
    svid::bring_up_to_date(at).await.unwrap();
    assert_eq!(trust::once(at, &mut None).await.unwrap(), Vec::<String>::new());
}

/// Makes a token on `at`.
pub async fn invite(at: &Agent, name: &str) -> Invited {
    let request = InviteRequest { node_id: node(name), ttl_seconds: 600, limits: None };
    inviting::invite(at, request, false, Actor::Agent).await.unwrap()
}

/// The same for a host that was a member before.
pub async fn readmit(at: &Agent, name: &str) -> Result<Invited, Trouble> {
    let request = InviteRequest { node_id: node(name), ttl_seconds: 600, limits: None };
    inviting::invite(at, request, true, Actor::Agent).await
}
