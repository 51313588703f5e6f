//! This host's keys in the mesh: one to sign with (records, envelopes, TLS), one to be encrypted to. Stored sealed.

use std::sync::Arc;

use reverie_core::mesh::collection::{Collection, HostKey, Node, key};
use reverie_core::mesh::crypto::{Decapsulator, KemPublicKey, Kid, Signer, SigningPublicKey};
use reverie_core::mesh::record::host_key_bytes;
use reverie_core::moment::Moment;
use reverie_crypto::aws::{KemKey, SigningKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::writing::{self, Draft, Signed};
use super::{Keeper, MeshError, ending};
use crate::keeper::state::{Change, Committed, State, StateError, Table, Write};
use crate::keeper::{clock, row};

/// Row of the ring.
const ROW: &str = "keys";
/// Earlier keys kept, so that what was sealed to them still opens.
const MAX_EARLIER: usize = 2;

/// A signing key and a KEM key.
pub struct Pair {
    /// P-256.
    pub signing: SigningKey,
    /// ML-KEM-768.
    pub kem: KemKey,
    pub(super) made_at: Moment,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pair({})", self.kid())
    }
}

/// The pair in use, and those before it.
#[derive(Clone)]
pub struct Ring {
    /// Records are signed with it.
    pub current: Arc<Pair>,
    /// Shown in TLS, signs envelopes, is sealed to: the pair before `current` until everyone knows that.
    pub speaking: Arc<Pair>,
    /// The newest first.
    pub earlier: Vec<Arc<Pair>>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring({})", self.current.signing.public_key().kid())
    }
}

#[derive(Serialize, Deserialize)]
struct StoredPair {
    /// PKCS #8.
    signing: Zeroizing<Vec<u8>>,
    /// FIPS 203 §7.1: d ‖ z.
    kem: Zeroizing<Vec<u8>>,
    made_at: Moment,
    speaking: bool,
}

impl Pair {
    fn generate(now: Moment) -> Result<Self, MeshError> {
        Ok(Self { signing: SigningKey::generate()?, kem: KemKey::generate()?, made_at: now })
    }

    fn store(&self, speaking: bool) -> Result<StoredPair, MeshError> {
        let kem = Zeroizing::new(self.kem.seed().to_vec());
        Ok(StoredPair { signing: self.signing.to_pkcs8_der()?, kem, made_at: self.made_at, speaking })
    }

    fn load(stored: &StoredPair) -> Result<Self, StateError> {
        let damaged = || row::damaged("a key of this host in the mesh cannot be read");
        let seed = <&[u8; 64]>::try_from(&stored.kem[..]).map_err(|_| damaged())?;
        Ok(Self {
            signing: SigningKey::from_pkcs8_der(&stored.signing).map_err(|_| damaged())?,
            kem: KemKey::from_seed(seed).map_err(|_| damaged())?,
            made_at: stored.made_at,
        })
    }

    /// The public halves.
    pub fn public(&self) -> (SigningPublicKey, KemPublicKey) {
        (self.signing.public_key().clone(), self.kem.public_key().clone())
    }

    /// Name of the signing key.
    pub fn kid(&self) -> Kid {
        self.signing.public_key().kid()
    }
}

impl Ring {
    /// A ring with one new pair.
    pub(super) fn generate(now: Moment) -> Result<Self, MeshError> {
        let pair = Arc::new(Pair::generate(now)?);
        Ok(Self { current: Arc::clone(&pair), speaking: pair, earlier: vec![] })
    }

    /// The KEM key of that name.
    pub(super) fn kem(&self, kid: &Kid) -> Option<&KemKey> {
        let pairs = std::iter::once(&self.current).chain(&self.earlier);
        pairs.map(|pair| &pair.kem).find(|kem| kem.public_key().kid() == *kid)
    }

    /// Names of all signing keys.
    pub(super) fn kids(&self) -> Vec<Kid> {
        std::iter::once(&self.current).chain(&self.earlier).map(|pair| pair.kid()).collect()
    }

    pub(super) fn write(&self) -> Result<Write, MeshError> {
        let pairs = std::iter::once(&self.current).chain(&self.earlier);
        let pairs = pairs.map(|pair| pair.store(Arc::ptr_eq(pair, &self.speaking)));
        let pairs = pairs.collect::<Result<Vec<StoredPair>, _>>()?;
        Ok(Write::Put { table: Table::Mesh, key: ROW.to_owned(), value: row::encode(&pairs)? })
    }

    fn followed_by(&self, next: Pair) -> Self {
        let earlier = std::iter::once(&self.current).chain(&self.earlier).take(MAX_EARLIER).cloned().collect();
        Self { current: Arc::new(next), speaking: Arc::clone(&self.speaking), earlier }
    }

    /// Not everyone is known to know the newest pair.
    pub fn is_rotating(&self) -> bool {
        !Arc::ptr_eq(&self.current, &self.speaking)
    }
}

/// What is stored.
pub(super) fn load(state: &State) -> Result<Option<Arc<Ring>>, MeshError> {
    let Some(row) = state.get(Table::Mesh, ROW)? else { return Ok(None) };
    let pairs: Vec<StoredPair> = row::decode(&row)?;
    let loaded = pairs.iter().map(|stored| Pair::load(stored).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let speaking = pairs.iter().position(|stored| stored.speaking).and_then(|at| loaded.get(at)).cloned();
    let mut loaded = loaded.into_iter();
    Ok(loaded.next().map(|current| {
        let speaking = speaking.unwrap_or_else(|| Arc::clone(&current));
        Arc::new(Ring { current, speaking, earlier: loaded.collect() })
    }))
}

/// Makes the next pair and says so: the key before signs that it is the next and which of its records still count, the next
/// proves that it is held, and from then on the next signs records. Connections and envelopes follow with [`speak_with_newest`]. Keys, records, `change` and its events become durable together.
pub async fn rotate(keeper: &Keeper, mut change: Change) -> Result<Committed, MeshError> {
    let mesh = &keeper.mesh;
    let turn = mesh.turn_to_write().await;
    let now = clock::now();
    let ring = mesh.keys().ok_or(MeshError::NotIn("none"))?;
    let next = Pair::generate(now)?;
    let (signing_key, kem_key) = next.public();
    let (node, previous) = (keeper.host.node_id.clone(), ring.current.kid());
    let (lasting, replaceable) =
        mesh.look(|view| (view.lasting_of_key(&node, previous), view.replaceable_of(&node))).ok_or(MeshError::NotIn("none"))?;
    let (upheld, lists) = ending::upheld(&lasting)?;
    let mut statement = HostKey { signing_key, kem_key, previous, proof: [0; 64], upheld };
    statement.proof = next.signing.sign(&host_key_bytes(&node, &statement))?;
    let name = key::host_key(&node, &next.kid());
    let ring = Arc::new(ring.followed_by(next));
    change.writes.push(ring.write()?);
    let before = Arc::clone(&ring.earlier[0]);
    let record = own_record(keeper, &ring.speaking)?;
    let mut signed: Vec<Signed> = lists.into_iter().map(|list| Signed::new(list, &before)).collect();
    signed.push(Signed::new(Draft::put(Collection::HostKeys, name, &statement)?, &before));
    // Of the key before nothing counts but what is upheld, and what can be replaced is not: the next key says it again.
    signed.extend(ending::again(replaceable, &ring));
    signed.push(Signed::new(record, &ring.current));
    let committed = writing::write_signed(keeper, turn, signed, change, |held| held.keys = Some(ring)).await?;
    mesh.due.notify_one();
    mesh.own_due.notify_one();
    Ok(committed)
}

/// Everyone knows the newest pair, or had the time to: it is the one to speak with.
pub(super) async fn speak_with_newest(keeper: &Keeper, mut change: Change) -> Result<(), MeshError> {
    let mesh = &keeper.mesh;
    let turn = mesh.turn_to_write().await;
    let ring = mesh.keys().ok_or(MeshError::NotIn("none"))?;
    let ring = Arc::new(Ring { speaking: Arc::clone(&ring.current), ..Ring::clone(&ring) });
    change.writes.push(ring.write()?);
    let signed = vec![Signed::new(own_record(keeper, &ring.speaking)?, &ring.current)];
    writing::write_signed(keeper, turn, signed, change, |held| held.keys = Some(ring)).await?;
    *mesh.certificate.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    mesh.due.notify_one();
    Ok(())
}

/// `nodes/<this host>` as it is to be with that pair.
pub(super) fn own_record(keeper: &Keeper, pair: &Pair) -> Result<Draft, MeshError> {
    let node = &keeper.host.node_id;
    let policy = keeper.policy();
    let record = Node {
        addresses: policy.config.gossip.advertised(node),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        wire: policy.config.gossip.newest_wire,
        signing_kid: pair.kid(),
        kem_kid: pair.kem.public_key().kid(),
        wrapping_key: super::wrapping::held_version(keeper),
    };
    Draft::put(Collection::Nodes, node.as_str(), &record)
}
