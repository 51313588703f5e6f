//! A small mesh to try things on.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::id::NodeId;
use crate::mesh::author::{Again, Author};
use crate::mesh::collection::{Admission, Collection, Confirmation, Eviction, HostKey, Standing, Upheld, UpheldList, key};
use crate::mesh::crypto::{
    BadSignature, CryptoFailure, KemCiphertext, KemPublicKey, Kid, PublicOperations, Signer, SigningPublicKey,
};
use crate::mesh::record::{Hash, Parsed, Record, host_key_bytes};
use crate::mesh::set::{Anchor, Limits, Offered, Refusal, Set};
use crate::mesh::view::View;
use crate::moment::Moment;

/// Signs with a hash, which anybody could: good for rules, not for secrets. The second half of a signature is free, as it
/// is in ECDSA for whoever has one.
pub(crate) struct Double;

fn double(key: &SigningPublicKey, message: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(key.0).chain_update(message).finalize().into()
}

impl PublicOperations for Double {
    fn verify(&self, key: &SigningPublicKey, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        if signature[..32] == double(key, message) { Ok(()) } else { Err(BadSignature) }
    }
    fn verify_der(&self, _: &SigningPublicKey, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Err(BadSignature)
    }
    fn encapsulate(&self, _: &KemPublicKey) -> Result<(Box<KemCiphertext>, Zeroizing<[u8; 32]>), CryptoFailure> {
        Err(CryptoFailure)
    }
    fn hkdf(&self, _: &[u8; 32], _: &[u8]) -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
        Err(CryptoFailure)
    }
    fn wrap(&self, _: &[u8; 32], _: &[u8; 32]) -> Result<[u8; 40], CryptoFailure> {
        Err(CryptoFailure)
    }
    fn unwrap(&self, _: &[u8; 32], _: &[u8; 40]) -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
        Err(CryptoFailure)
    }
    fn encrypt(&self, _: &[u8; 32], _: &[u8; 16], _: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        Err(CryptoFailure)
    }
    fn decrypt(&self, _: &[u8; 32], _: &[u8; 16], _: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoFailure> {
        Err(CryptoFailure)
    }
    fn random(&self, _: &mut [u8]) -> Result<(), CryptoFailure> {
        Err(CryptoFailure)
    }
}

pub(crate) struct DoubleSigner(SigningPublicKey);

impl DoubleSigner {
    pub(crate) fn named(name: &str) -> Self {
        let mut point = [4; 65];
        point[1..33].copy_from_slice(&Sha256::digest(name));
        Self(SigningPublicKey(point))
    }
}

impl Signer for DoubleSigner {
    fn public_key(&self) -> &SigningPublicKey {
        &self.0
    }
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], CryptoFailure> {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&double(&self.0, message));
        Ok(signature)
    }
    fn sign_der(&self, _: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        Err(CryptoFailure)
    }
}

pub(crate) fn node(name: &str) -> NodeId {
    format!("{name}.example").parse().unwrap()
}

pub(crate) fn kem(name: &str) -> KemPublicKey {
    let mut key = Box::new([0; 1184]);
    key[..32].copy_from_slice(&Sha256::digest(name));
    KemPublicKey(key)
}

pub(crate) fn cbor<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}

/// Some host's hand.
pub(crate) struct Pen {
    pub(crate) author: Author,
    pub(crate) signer: DoubleSigner,
}

impl Pen {
    pub(crate) fn kid(&self) -> Kid {
        self.signer.public_key().kid()
    }
}

/// Everyone's hands, and the set of someone who hears everything.
pub(crate) struct World {
    pub(crate) set: Set,
    pub(crate) pens: BTreeMap<&'static str, Pen>,
    pub(crate) now: Moment,
    /// Everything ever written, in order.
    pub(crate) said: Vec<Vec<u8>>,
}

pub(crate) const START: Moment = Moment::from_millis(1_800_000_000_000);

pub(crate) fn anchor() -> Anchor {
    Anchor { node: node("a"), key: DoubleSigner::named("a").0 }
}

pub(crate) fn empty() -> Set {
    Set::new(anchor(), Limits::default())
}

impl Set {
    /// Verifies and takes one record, as if it came alone.
    pub(crate) fn offer(&mut self, record: &[u8], operations: &dyn PublicOperations) -> Offered {
        let parsed = match Parsed::new(record) {
            Ok(parsed) => parsed,
            Err(why) => return Offered::Refused(why.into()),
        };
        match self.standing_of(&parsed) {
            Some(known) => known,
            None if !self.keys().admits(&parsed) => Offered::Refused(Refusal::UnknownKey),
            None => self.keys().verify(parsed, operations).map_or_else(Offered::Refused, |verified| self.take(verified)),
        }
    }
}

impl World {
    /// `a` founds; nobody else is in.
    pub(crate) fn founded() -> Self {
        let mut world = Self { set: empty(), pens: BTreeMap::new(), now: START, said: Vec::new() };
        world.arrive("a", "a");
        world.admit("a", "a", Standing::Authority, "founding");
        world
    }

    /// `a` founds, `b` is an authority as well, `m` and `n` are members.
    pub(crate) fn usual() -> Self {
        let mut world = Self::founded();
        for (name, standing) in [("b", Standing::Authority), ("m", Standing::Member), ("n", Standing::Member)] {
            world.arrive(name, name);
            world.admit("a", name, standing, "token");
        }
        world
    }

    /// A host with a key, new or with all its memory lost.
    pub(crate) fn arrive(&mut self, name: &'static str, key: &str) {
        let author = Author::start(node(name), &self.set, self.now);
        self.pens.insert(name, Pen { author, signer: DoubleSigner::named(key) });
    }

    pub(crate) fn tick(&mut self, millis: i64) {
        self.now = Moment::from_millis(self.now.as_millis() + millis);
    }

    /// Writes, and does not let the set hear it.
    pub(crate) fn whisper(&mut self, by: &'static str, collection: Collection, key: &str, value: Option<Vec<u8>>) -> Vec<u8> {
        self.tick(1);
        let pen = self.pens.get_mut(by).unwrap();
        pen.author.write(collection, key, value, self.now, &pen.signer).unwrap().to_bytes()
    }

    pub(crate) fn hear(&mut self, record: &[u8]) -> Offered {
        self.said.push(record.to_vec());
        self.set.offer(record, &Double)
    }

    pub(crate) fn write(&mut self, by: &'static str, collection: Collection, key: &str, value: Option<Vec<u8>>) -> Offered {
        let record = self.whisper(by, collection, key, value);
        self.hear(&record)
    }

    /// With a value that must be taken.
    pub(crate) fn say(&mut self, by: &'static str, collection: Collection, key: &str, value: &[u8]) {
        let offered = self.write(by, collection, key, Some(value.to_vec()));
        assert!(matches!(offered, Offered::Taken { .. }), "{by} {collection:?} {key}: {offered:?}");
    }

    /// What only an authority's key may say is not taken.
    pub(crate) fn cannot_say(&mut self, by: &'static str, collection: Collection, key: &str, value: Option<&[u8]>) {
        let offered = self.write(by, collection, key, value.map(<[u8]>::to_vec));
        assert_eq!(offered, Offered::Refused(Refusal::UnknownKey), "{by} {collection:?} {key}");
    }

    pub(crate) fn admission(&mut self, by: &'static str, who: &'static str, standing: Standing, how: &str) -> Vec<u8> {
        let signing_key = self.pens[who].signer.0.clone();
        let kid = signing_key.kid();
        let despite = self.view().members().get(&node(who)).map(|member| member.evictions.clone()).unwrap_or_default();
        let admission =
            Admission { node: node(who), signing_key, kem_key: Some(kem(who)), standing, by: how.to_owned(), despite };
        self.whisper(by, Collection::Admissions, &key::admission(&node(who), &kid), Some(cbor(&admission)))
    }

    pub(crate) fn admit(&mut self, by: &'static str, who: &'static str, standing: Standing, how: &str) {
        let record = self.admission(by, who, standing, how);
        let offered = self.hear(&record);
        assert!(matches!(offered, Offered::Taken { .. }), "{offered:?}");
    }

    /// Upholding what counts of it in the set; what it said for the mesh is said again first.
    pub(crate) fn evict(&mut self, by: &'static str, who: &'static str) {
        for again in self.view().estate_of(&node(who)) {
            self.repeat(by, again);
        }
        let upheld = self.view().lasting_of(&node(who));
        self.evict_upholding(by, who, &upheld);
    }

    pub(crate) fn repeat(&mut self, by: &'static str, again: Again) {
        let pen = self.pens.get_mut(by).unwrap();
        let record = pen.author.repeat(again.collection, &again.key, again.value, again.stamp, &pen.signer).unwrap().to_bytes();
        let offered = self.hear(&record);
        assert!(matches!(offered, Offered::Taken { .. }), "{offered:?}");
    }

    /// Lists, if there must be any, then the eviction.
    pub(crate) fn eviction(&mut self, by: &'static str, who: &'static str, upheld: &[Hash]) -> Vec<Vec<u8>> {
        let (upheld, lists) = Upheld::of(upheld);
        let member = self.view().members().get(&node(who)).cloned();
        let own = member.map(|member| member.keys.iter().map(|key| key.signing_key.kid()).collect()).unwrap_or_default();
        let keys = if by == who { own } else { vec![] };
        let eviction = Eviction {
            node: node(who),
            keys,
            reason: "stolen".to_owned(),
            left: by == who,
            upheld,
            heard: self.set.heard(&node(who)),
        };
        let mut records = self.lists(by, &lists);
        records.push(self.whisper(by, Collection::Evictions, &key::eviction(&node(who), &node(by)), Some(cbor(&eviction))));
        records
    }

    fn lists(&mut self, by: &'static str, lists: &[(String, UpheldList)]) -> Vec<Vec<u8>> {
        lists.iter().map(|(name, list)| self.whisper(by, Collection::Upheld, name, Some(cbor(list)))).collect()
    }

    pub(crate) fn evict_upholding(&mut self, by: &'static str, who: &'static str, upheld: &[Hash]) {
        for record in self.eviction(by, who, upheld) {
            let offered = self.hear(&record);
            assert!(matches!(offered, Offered::Taken { .. }), "{offered:?}");
        }
    }

    /// An authority's word on which next key follows `previous`.
    pub(crate) fn confirm(&mut self, by: &'static str, who: &'static str, previous: &str, record: &[u8]) {
        let previous = DoubleSigner::named(previous).0.kid();
        let record = Parsed::new(record).unwrap().hash();
        let confirmation = Confirmation { node: node(who), previous, record };
        let name = key::confirmation(&node(who), &previous);
        self.write(by, Collection::Confirmations, &name, Some(cbor(&confirmation)));
    }

    /// The record that goes on to a next key; the pen does not use it yet.
    pub(crate) fn next_key(&mut self, who: &'static str, name: &str) -> Vec<u8> {
        let next = DoubleSigner::named(name);
        let previous = self.pens[who].kid();
        let (upheld, lists) = Upheld::of(&self.view().lasting_of_key(&node(who), previous));
        assert!(lists.is_empty());
        let mut value = HostKey { signing_key: next.0.clone(), kem_key: kem(name), previous, proof: [0; 64], upheld };
        value.proof = next.sign(&host_key_bytes(&node(who), &value)).unwrap();
        self.whisper(who, Collection::HostKeys, &key::host_key(&node(who), &next.0.kid()), Some(cbor(&value)))
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::of(&self.set, self.now)
    }

    pub(crate) fn client(&self, id: &str) -> Option<Vec<u8>> {
        self.view().get(Collection::Clients, id).map(|value| value.bytes.to_vec())
    }
}

/// As a record of another content, with a signature that fits.
pub(crate) fn forge(record: &[u8], signer: &DoubleSigner, change: impl FnOnce(&mut Record)) -> Vec<u8> {
    let mut record = Record::from_bytes(record).unwrap();
    change(&mut record);
    record.statement.kid = signer.public_key().kid();
    record.statement.sign(signer).unwrap().to_bytes()
}

/// Everything a view says, as text: equal views, equal text.
pub(crate) fn told(set: &Set, now: Moment) -> String {
    use std::fmt::Write;
    let view = View::of(set, now);
    let mut text = String::new();
    for host in view.hosts() {
        writeln!(text, "{host:?}").unwrap();
    }
    for &collection in Collection::ALL {
        let mut entries: Vec<_> = view.entries(collection).collect();
        entries.sort_by(|a, b| (a.key, a.author, a.position, a.bytes).cmp(&(b.key, b.author, b.position, b.bytes)));
        for value in entries {
            writeln!(text, "{collection:?} {value:?}").unwrap();
        }
    }
    writeln!(text, "{:?} {:?} {:?}", view.revocations(), view.counts(), view.held_back()).unwrap();
    text
}

/// A set of these records, heard in this order.
pub(crate) fn set_of<'a>(records: impl IntoIterator<Item = &'a Vec<u8>>) -> Set {
    let mut set = empty();
    for record in records {
        set.take(Parsed::new(record).unwrap().trusted());
    }
    set
}
