//! A keeper with real keys, a set of records that is only bytes, and a net process of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reverie_agent::ops::channel::{Answering, spawn_role};
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{
    Merged, MeshIdentity, Metrics, NetSettings, Page, Peer, PeerState, Reply, Request, Side, Situation, Stats, Task, TaskKind,
    Waiters,
};
use reverie_core::mesh::crypto::{Decapsulator, KemCiphertext, Kid, Signer, SigningPublicKey};
use reverie_core::mesh::envelope::{content_key, signed_attributes};
use reverie_core::mesh::join::request::{self, JoinRequest};
use reverie_core::mesh::round::RoundSettings;
use reverie_core::mesh::vector::{Position, VersionVector};
use reverie_crypto::aws::{Aws, KemKey, SigningKey};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

pub const MESH: [u8; 16] = [0x4d; 16];
pub const TOKEN: [u8; 32] = [0x70; 32];
/// Ample, on a machine that is busy.
pub const AMPLE: Duration = Duration::from_secs(30);

/// A host's keys and certificate.
pub struct Keys {
    pub node: NodeId,
    pub signing: SigningKey,
    pub kem: KemKey,
    pub certificate: Vec<u8>,
}

impl Keys {
    pub fn new(name: &str) -> Self {
        let signing = SigningKey::generate().unwrap();
        let pair = self_signing(&signing);
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&pair).unwrap();
        let kem = KemKey::generate().unwrap();
        Self { node: name.parse().unwrap(), signing, kem, certificate: certificate.der().to_vec() }
    }

    pub fn public(&self) -> SigningPublicKey {
        self.signing.public_key().clone()
    }

    pub fn kid(&self) -> Kid {
        self.signing.public_key().kid()
    }

    /// As others know this host.
    pub fn peer(&self, addresses: &[SocketAddr]) -> Peer {
        Peer {
            node: self.node.clone(),
            addresses: addresses.iter().map(SocketAddr::to_string).collect(),
            signing_keys: vec![self.public()],
            kem_key: Some(self.kem.public_key().clone()),
            wire: 1,
        }
    }
}

/// For certificates.
pub fn self_signing(key: &SigningKey) -> rcgen::KeyPair {
    rcgen::KeyPair::try_from(&key.to_pkcs8_der().unwrap()[..]).unwrap()
}

type Records = BTreeMap<(NodeId, Position), Vec<u8>>;

/// What the keeper keeps, and what it was told.
#[derive(Default)]
pub struct Kept {
    pub records: Records,
    pub refused: Vec<(String, String)>,
    pub peers: Vec<PeerState>,
    pub metrics: Metrics,
    pub reports: BTreeMap<u64, Result<Vec<u8>, String>>,
    pub joined: Vec<JoinRequest>,
    pub topology: Vec<Result<Vec<String>, String>>,
    /// Bodies for tasks.
    pub clients: Vec<String>,
    pub handshakes: u32,
    pub merges: u32,
}

impl Kept {
    pub fn vector(&self) -> VersionVector {
        let mut vector = VersionVector::default();
        for (author, position) in self.records.keys() {
            vector.advance(author, *position);
        }
        vector
    }

    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for ((author, position), bytes) in &self.records {
            hash.update(postcard::to_stdvec(&(author, position, bytes)).unwrap());
        }
        hash.finalize().into()
    }
}

/// One host: keeper here, net in its process.
pub struct Host {
    pub keys: Arc<Keys>,
    pub address: SocketAddr,
    pub kept: Arc<Mutex<Kept>>,
    pub situation: Arc<watch::Sender<Situation>>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        // Closes the channel, so net ends.
        self.keeper.abort();
    }
}

/// A port that nobody has, in the loopback network.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub fn settings(listen: Vec<SocketAddr>) -> NetSettings {
    NetSettings {
        listen,
        max_message: 4 << 20,
        newest_wire: 2,
        public_stats: true,
        max_connections: 512,
        max_waiters: Waiters { total: 4, per_address: 2 },
        max_wait_ms: 1_000,
        rate_per_second: 1_000,
        allowed: None,
        topology: None,
        log_level: "info".to_owned(),
        round: RoundSettings {
            slide_ms: 20,
            slide_max_ms: 150,
            anti_entropy_ms: 300,
            fan_out_all: 16,
            back_off_max_ms: 1_000,
            exchange_ms: 10_000,
        },
    }
}

impl Host {
    /// Starts it, in the mesh, knowing nobody.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, |_| {}).await
    }

    pub async fn start_with(name: &str, adjust: impl FnOnce(&mut Situation)) -> Self {
        let keys = Arc::new(Keys::new(name));
        let address = free_address();
        let mut situation = Situation {
            number: 1,
            mesh: Some(MeshIdentity {
                mesh: MESH,
                node: keys.node.clone(),
                signing_key: keys.public(),
                kem_key: keys.kem.public_key().clone(),
                certificate_chain: vec![keys.certificate.clone()],
                registered: true,
                epoch: 7,
            }),
            settings: settings(vec![address]),
            peers: vec![],
            refused: vec![],
            digest: Kept::default().digest(),
            vector: VersionVector::default(),
            own: Position::default(),
            tasks: vec![],
        };
        adjust(&mut situation);
        let situation = Arc::new(watch::Sender::new(situation));
        let kept = Arc::new(Mutex::new(Kept::default()));
        let socket = spawn_role::<&str>(Path::new(env!("CARGO_BIN_EXE_reverie-agent")), "net", &[]).unwrap();
        let keeper = FakeKeeper { keys: Arc::clone(&keys), kept: Arc::clone(&kept), situation: Arc::clone(&situation) };
        let keeper = tokio::spawn(Arc::new(keeper).answer(socket));
        let host = Self { keys, address, kept, situation, keeper };
        let is_member = { host.situation.borrow().mesh.is_some() };
        if is_member {
            host.wait_until("it listens", || std::net::TcpStream::connect(address).is_ok()).await;
        }
        host
    }

    pub fn kept<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.kept.lock().unwrap())
    }

    /// Another situation.
    pub fn change(&self, change: impl FnOnce(&mut Situation)) {
        self.situation.send_modify(|situation| {
            change(situation);
            situation.number += 1;
        });
    }

    /// The two know each other.
    pub fn meet(&self, other: &Self) {
        self.change(|situation| situation.peers.push(other.keys.peer(&[other.address])));
        other.change(|situation| situation.peers.push(self.keys.peer(&[self.address])));
    }

    /// A record of our own.
    pub fn write(&self, text: &str) {
        let node = self.keys.node.clone();
        let position = Position { epoch: 7, seq: self.situation.borrow().own.seq + 1 };
        let (digest, vector) = self.kept(|kept| {
            kept.records.insert((node, position), text.as_bytes().to_vec());
            (kept.digest(), kept.vector())
        });
        self.change(|situation| (situation.own, situation.digest, situation.vector) = (position, digest, vector));
    }

    /// Has it do something, and waits for the report.
    pub async fn task(&self, what: TaskKind) -> Result<Vec<u8>, String> {
        let number = self.situation.borrow().tasks.last().map_or(1, |task| task.number + 1);
        self.change(|situation| situation.tasks.push(Task { number, what }));
        self.wait_until("a report comes", || self.kept(|kept| kept.reports.contains_key(&number))).await;
        self.kept(|kept| kept.reports.remove(&number)).unwrap()
    }

    pub async fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(AMPLE, wait).await.is_err() {
            let peers = self.kept(|kept| kept.peers.clone());
            panic!("{}: not in time: {what}; peers: {peers:?}", self.keys.node);
        }
    }
}

struct FakeKeeper {
    keys: Arc<Keys>,
    kept: Arc<Mutex<Kept>>,
    situation: Arc<watch::Sender<Situation>>,
}

impl FakeKeeper {
    async fn answer(self: Arc<Self>, socket: OwnedFd) {
        let answering = Answering::<Request, Reply>::accept(socket, "net").await.unwrap();
        let served = answering.serve(2048, move |asked, _| {
            let keeper = Arc::clone(&self);
            async move { keeper.reply(asked.unwrap()).await }
        });
        served.await.unwrap();
    }

    fn kept<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.kept.lock().unwrap())
    }

    async fn reply(&self, asked: Request) -> Reply {
        match asked {
            Request::Watch { seen } => {
                let mut watch = self.situation.subscribe();
                let changed = watch.wait_for(|situation| situation.number != seen);
                match tokio::time::timeout(Duration::from_secs(25), changed).await {
                    Ok(situation) => Reply::Situation(Some(Box::new(situation.unwrap().clone()))),
                    Err(_) => Reply::Situation(None),
                }
            }
            Request::SignHandshake { side, transcript } => {
                assert!(matches!(transcript.len(), 32 | 48));
                self.kept(|kept| kept.handshakes += 1);
                let context: &[u8] = match side {
                    Side::Server => b"TLS 1.3, server CertificateVerify\0",
                    Side::Client => b"TLS 1.3, client CertificateVerify\0",
                };
                let statement = [&[0x20; 64][..], context, &transcript].concat();
                Reply::Signature(self.keys.signing.sign_der(&statement).unwrap())
            }
            Request::SignEnvelope { digest } => {
                Reply::Signature(self.keys.signing.sign_der(&signed_attributes(&digest)).unwrap())
            }
            Request::OpenEnvelope { kem_kid, ciphertext, wrapped_key } => {
                let refused = Reply::Refused { status: 400, message: "no".into() };
                if kem_kid != self.keys.kem.public_key().kid() {
                    return refused;
                }
                let ciphertext: KemCiphertext = ciphertext.try_into().unwrap();
                match content_key(&Aws, &self.keys.kem, &ciphertext, &wrapped_key.try_into().unwrap()) {
                    Ok(key) => Reply::ContentKey(*key),
                    Err(_) => refused,
                }
            }
            Request::Merge { records, .. } => self.merge(records),
            Request::Records { since, .. } => {
                let since = since.unwrap_or_default();
                let records = self.kept(|kept| {
                    let missing = kept.records.iter().filter(|((author, position), _)| since.get(author) < *position);
                    missing.map(|((author, position), bytes)| postcard::to_stdvec(&(author, position, bytes)).unwrap()).collect()
                });
                Reply::Page(Page { records, more: false })
            }
            Request::WatchFederation { .. } => {
                tokio::time::sleep(Duration::from_secs(25)).await;
                Reply::Federation(None)
            }
            Request::Fetched { .. } => Reply::FetchAgain(3600),
            Request::Bundle => Reply::Bundle(b"{\"keys\":[]}".to_vec()),
            Request::Summary => Reply::Summary(BTreeMap::new()),
            Request::Join(join) => {
                if !request::is_authentic(&TOKEN, &join) {
                    return Reply::Refused { status: 403, message: "the token is not accepted; have a new one made".into() };
                }
                let recipient = join.kem_key.clone();
                self.kept(|kept| kept.joined.push(join));
                Reply::Sealable { recipient, payload: b"welcome".to_vec() }
            }
            Request::Renew { node, payload, .. } => {
                let recipient = self.kem_of(&node).unwrap();
                Reply::Sealable { recipient, payload: [b"renewed ", &payload[..]].concat() }
            }
            Request::WrappingKey { node, .. } if node.as_str().starts_with("denied") => {
                Reply::Refused { status: 403, message: "not admitted".into() }
            }
            Request::WrappingKey { node, .. } => match self.kem_of(&node) {
                Some(recipient) => Reply::Sealable { recipient, payload: b"the wrapping key".to_vec() },
                None => Reply::Refused { status: 404, message: "no such host; it must join first".into() },
            },
            Request::AwaitClient { client_id, timeout_ms } => {
                let until = tokio::time::Instant::now() + Duration::from_millis(timeout_ms.into());
                while tokio::time::Instant::now() < until {
                    if self.kept(|kept| kept.clients.contains(&client_id)) {
                        return Reply::Client { found: true };
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Reply::Client { found: false }
            }
            Request::Stats => Reply::Stats(Stats {
                crdt_generation: 3,
                counts: [("clients".to_owned(), 2)].into(),
                active_signing_kid: Some("kid".into()),
                kem_enrolled: true,
                gossip_signing_enrolled: true,
                persist_errors: 0,
                wrapping_key_pull_errors: 1,
            }),
            Request::PrepareJoin { exporter, .. } => {
                Reply::Body { node: self.keys.node.clone(), body: request::to_body(&self.join_request(exporter)) }
            }
            Request::RegisterKem(registration) => match &registration.token[..] {
                b"good" => Reply::Registered { token: Some(b"proof".to_vec()), body: b"{\"status\":\"registered\"}".to_vec() },
                b"conflict" => Reply::Refused { status: 409, message: "another KEM key is registered".into() },
                b"down" => Reply::Failed { message: "no credential".into() },
                _ => Reply::Refused { status: 401, message: "the ticket is not accepted".into() },
            },
            Request::PrepareKerberos { .. } => {
                let body = serde_json::json!({
                    "node_id": self.keys.node,
                    "kem_public_key_der": "YWJj",
                    "gossip_signing_pub_key_der": data_encoding::BASE64URL_NOPAD.encode(&self.keys.public().to_spki_der()),
                });
                Reply::Kerberos {
                    node: self.keys.node.clone(),
                    kid: self.keys.kid(),
                    token: b"good".to_vec(),
                    body: serde_json::to_vec(&body).unwrap(),
                }
            }
            Request::FinishKerberos { token, answer, .. } => {
                assert_eq!((&token[..], &answer[..]), (&b"proof"[..], &b"{\"status\":\"registered\"}"[..]));
                let recipient = self.kem_of(&"localhost".parse().unwrap()).unwrap();
                Reply::Sealable { recipient, payload: b"please".to_vec() }
            }
            Request::Report { task, outcome } => {
                self.kept(|kept| kept.reports.insert(task, outcome));
                Reply::Done
            }
            Request::Refused { peer, reason, .. } => {
                self.kept(|kept| kept.refused.push((peer, reason)));
                Reply::Done
            }
            Request::Topology(topology) => {
                self.kept(|kept| kept.topology.push(topology.nodes));
                Reply::Done
            }
            Request::Peers(peers) => {
                self.kept(|kept| {
                    kept.peers.retain(|known| !peers.iter().any(|peer| peer.node == known.node));
                    kept.peers.extend(peers);
                });
                Reply::Done
            }
            Request::Metrics(metrics) => {
                self.kept(|kept| kept.metrics = metrics);
                Reply::Done
            }
        }
    }

    fn kem_of(&self, node: &NodeId) -> Option<reverie_core::mesh::crypto::KemPublicKey> {
        self.situation.borrow().peers.iter().find(|peer| peer.node == *node)?.kem_key.clone()
    }

    fn join_request(&self, exporter: [u8; 32]) -> JoinRequest {
        let mut join = JoinRequest {
            node: self.keys.node.clone(),
            token_id: [1; 16],
            signing_key: self.keys.public(),
            kem_key: self.keys.kem.public_key().clone(),
            csr: vec![],
            mac: [0; 32],
            exporter,
        };
        join.mac = request::authenticate(&TOKEN, &join);
        join
    }

    fn merge(&self, records: Vec<Vec<u8>>) -> Reply {
        let merged = self.kept(|kept| {
            kept.merges += 1;
            let mut merged = Merged::default();
            for record in records {
                let (author, position, bytes): (NodeId, Position, Vec<u8>) = postcard::from_bytes(&record).unwrap();
                if bytes == b"forged" {
                    merged.forged = true;
                    continue;
                }
                merged.taken += u32::from(kept.records.insert((author, position), bytes).is_none());
            }
            (merged.digest, merged.vector) = (kept.digest(), kept.vector());
            merged
        });
        if merged.taken > 0 {
            self.situation.send_modify(|situation| {
                (situation.digest, situation.vector) = (merged.digest, merged.vector.clone());
                situation.number += 1;
            });
        }
        Reply::Merged(merged)
    }
}
