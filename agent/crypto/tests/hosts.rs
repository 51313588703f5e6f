//! Three hosts: alice sends, bob receives, mallory is a member like them and wants more.

use reverie_core::id::NodeId;
use reverie_core::mesh::crypto::{Decapsulator, Signer};
use reverie_core::mesh::envelope::{EnvelopeError, content_key, parse, seal, signed_attributes};
use reverie_core::mesh::message::{Content, Expected, Message, Sync, WIRE};
use reverie_core::moment::Moment;
use reverie_crypto::pure::{KemKey, Pure, SigningKey};
use sha2::{Digest, Sha256};

use crate::tree::Tree;

pub(crate) const NOW: Moment = Moment::from_secs(1_800_000_000);
pub(crate) const MESH: [u8; 16] = [7; 16];
pub(crate) const MAX: usize = 4 << 20;

/// Where things are in a message.
pub(crate) const SIGNED: [usize; 2] = [1, 0];
pub(crate) const CONTENT_TYPE: [usize; 4] = [1, 0, 2, 0];
pub(crate) const CONTENT: [usize; 5] = [1, 0, 2, 1, 0];
pub(crate) const SIGNERS: [usize; 3] = [1, 0, 3];
pub(crate) const SIGNER: [usize; 4] = [1, 0, 3, 0];
pub(crate) const ATTRIBUTES: [usize; 5] = [1, 0, 3, 0, 3];
/// And in the EnvelopedData.
pub(crate) const KEM: [usize; 3] = [1, 0, 1];

pub(crate) struct Hosts {
    pub(crate) ops: Pure,
    pub(crate) alice: SigningKey,
    pub(crate) bob: KemKey,
    pub(crate) mallory: SigningKey,
    pub(crate) mallory_kem: KemKey,
}

impl Hosts {
    pub(crate) fn new() -> Self {
        let ops = Pure::from_seed([1; 32]);
        let (alice, mallory) = (SigningKey::generate(&ops).unwrap(), SigningKey::generate(&ops).unwrap());
        let (bob, mallory_kem) = (KemKey::generate(&ops), KemKey::generate(&ops));
        Self { ops, alice, bob, mallory, mallory_kem }
    }

    /// Alice to Bob.
    pub(crate) fn sealed(&self, plaintext: &[u8]) -> Vec<u8> {
        seal(&self.ops, &self.alice, self.bob.public_key(), plaintext).unwrap()
    }

    /// Bob, who expects Alice.
    pub(crate) fn opened(&self, message: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        self.opened_as_from(message, &self.alice)
    }

    pub(crate) fn opened_as_from(&self, message: &[u8], sender: &SigningKey) -> Result<Vec<u8>, EnvelopeError> {
        let verified = parse(message, MAX)?.verify(&self.ops, sender.public_key())?;
        let key = content_key(&self.ops, &self.bob, verified.kem_ciphertext(), verified.wrapped_key())?;
        verified.open(&self.ops, &key).map(|plain| plain.to_vec())
    }
}

/// Puts a right signature by `signer` on whatever the message now contains.
pub(crate) fn sign_again(message: &mut Tree, signer: &SigningKey) {
    let digest: [u8; 32] = Sha256::digest(&message.at(&CONTENT).bytes).into();
    let mut attributes = Tree::of(&signed_attributes(&digest));
    let signature = signer.sign_der(&attributes.to_der()).unwrap();
    attributes.tag = 0xa0;
    *message.at(&ATTRIBUTES) = attributes;
    let info = message.at(&SIGNER);
    info.children[1].bytes = signer.public_key().kid().0.to_vec();
    info.children[5].bytes = signature;
}

/// Bends the EnvelopedData, and has Alice sign it.
pub(crate) fn bend_inside(hosts: &Hosts, message: &[u8], bend: impl FnOnce(&mut Tree)) -> Vec<u8> {
    let mut message = Tree::of(message);
    let mut inside = Tree::of(&message.at(&CONTENT).bytes);
    bend(&mut inside);
    message.at(&CONTENT).bytes = inside.to_der();
    sign_again(&mut message, &hosts.alice);
    message.to_der()
}

pub(crate) fn node(name: &str) -> NodeId {
    format!("{name}.example.org").parse().unwrap()
}

/// What Alice says to Bob.
pub(crate) fn greeting() -> Message {
    Message {
        version: 1,
        mesh: MESH,
        sender: node("alice"),
        recipient: node("bob"),
        epoch: 1_799_999_000_000,
        nonce: [3; 16],
        in_reply_to: None,
        issued_at: NOW,
        content: Content::Sync(Sync { records: vec![vec![1, 2, 3]; 3], ..Sync::default() }),
    }
}

/// What Bob takes.
pub(crate) fn expected<'a>(sender: &'a NodeId, recipient: &'a NodeId) -> Expected<'a> {
    Expected { mesh: Some(&MESH), sender: Some(sender), recipient, in_reply_to: None, newest_wire: *WIRE.end() }
}
