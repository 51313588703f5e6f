//! The kinds of records, and what the value of each says. Values are CBOR maps with small integers as keys, so that a
//! later version can say more (RFC 8949 §5.3); how records themselves are written is fixed.

mod identity;
mod shape;
mod upheld;

use std::collections::BTreeMap;
use std::net::IpAddr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::crypto::{KemPublicKey, Kid, SigningPublicKey};
use super::vector::Position;
use crate::id::NodeId;
use crate::jwt::Purpose;
use crate::moment::Moment;

pub use identity::SharedIdentity;
pub(crate) use shape::split;
pub use shape::{Drawer, key};
pub use upheld::{Upheld, UpheldList};

macro_rules! collections {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal;)*) => {
        /// A kind of record. The numbers are on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
        #[cbor(index_only)]
        #[serde(rename_all = "snake_case")]
        pub enum Collection { $($(#[$doc])* #[n($number)] $name = $number,)* }

        impl Collection {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As in `stats` and in messages.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

collections! {
    /// `<node>`: a host's addresses and versions. By that host.
    Nodes = 1 "nodes";
    /// `<node>/<kid>`: a host was admitted with these keys. By an authority. Grow-only.
    Admissions = 2 "admissions";
    /// `<node>/<kid>`: a host's further keys, proven by the key before. By that host. Grow-only.
    HostKeys = 3 "host_keys";
    /// `<node>/<author>`: a host is out. By an authority, or by the host itself (leave). Grow-only.
    Evictions = 4 "evictions";
    /// `<issuer>/<serial>`: a certificate is revoked. By the host that holds the issuer, or an authority. Grow-only.
    Revocations = 5 "revocations";
    /// `<node>`: the newest signed head of a host's audit log. By that host.
    AuditHeads = 6 "audit_heads";
    /// `<fingerprint>`: a root of the trust bundle. By the authority that holds it.
    Bundles = 7 "bundles";
    /// `<fingerprint>`: a host's intermediate. By the authority that signed it.
    Intermediates = 8 "intermediates";
    /// `<issuer>`: the newest revocation list of an issuer. By the host that holds it.
    Crls = 9 "crls";
    /// `<version>`: a version of the cluster wrapping key exists. By an authority.
    WrappingKeys = 10 "wrapping_keys";
    /// `<author>`: tombstones of the author up to here are collected. By that host.
    Floors = 11 "floors";
    /// `<node>`: what a host may issue. By an authority.
    IssuingLimits = 12 "issuing_limits";
    /// `<kid>`: the public half of a host's token-signing key. By that host.
    SigningKeys = 13 "signing_keys";
    /// `<client_id>`: an OAuth client. By an authority.
    Clients = 14 "clients";
    /// `<scope>`: an OAuth scope. By an authority.
    Scopes = 15 "scopes";
    /// `<rule>`: an HBAC rule. By an authority.
    Hbac = 16 "hbac";
    /// `<name>`: an identity rule; never with commands, paths or owners. By an authority.
    Identities = 17 "identities";
    /// `<role>`: a role. By an authority.
    Roles = 18 "roles";
    /// `<user>`: a static user. By an authority.
    Users = 19 "users";
    /// `<subject>`: what was cached of it before is void. By an authority.
    Invalidations = 20 "invalidations";
    /// `<subject>/<node>`: failed attempts as that host saw them. By that host.
    Lockouts = 21 "lockouts";
    /// `<id>`: a family of refresh tokens. By its home host.
    RefreshFamilies = 22 "refresh_families";
    /// `<SHA-256 of the value>`: records that still count of keys that ended. By anyone: it says nothing until it is named
    /// where a key ends. Grow-only.
    Upheld = 23 "upheld";
    /// `<node>/<kid>`: which next key followed that one. By an authority that is another host. Grow-only.
    Confirmations = 24 "confirmations";
}

/// How much a host may do in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize, schemars::JsonSchema)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It issues under an intermediate that an authority signed.
    #[n(0)]
    Member,
    /// It holds a root, admits and evicts.
    #[n(1)]
    Authority,
}

/// `nodes/<node>`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Node {
    /// `host:port`, each at most 260 bytes, at most 8.
    #[n(0)]
    pub addresses: Vec<String>,
    /// The agent's version.
    #[n(1)]
    pub agent_version: String,
    /// The newest wire version it speaks.
    #[n(2)]
    pub wire: u16,
    /// The keys it signs and decapsulates with now.
    #[n(3)]
    pub signing_kid: Kid,
    /// Name of its current KEM key.
    #[n(4)]
    pub kem_kid: Kid,
    /// The newest version of the cluster wrapping key it holds.
    #[n(5)]
    pub wrapping_key: Option<u64>,
}

/// `admissions/<node>/<kid>`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Admission {
    /// Who.
    #[n(0)]
    pub node: NodeId,
    /// With which signing key; the kid in the record's key is its name.
    #[n(1)]
    pub signing_key: SigningPublicKey,
    /// With which KEM key; absent for a host that has yet to register one.
    #[n(2)]
    pub kem_key: Option<KemPublicKey>,
    /// What it may do.
    #[n(3)]
    pub standing: Standing,
    /// How it came: `founding`, `token`, `kerberos`, `readmission`, `promotion`.
    #[n(4)]
    pub by: String,
    /// Evictions of the host that its author knew of: by whom, and the position of the last. Those do not end this key.
    #[n(5)]
    pub despite: BTreeMap<NodeId, Position>,
}

/// `host_keys/<node>/<kid>`: the host's next keys, `kid` being the name of `signing_key`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HostKey {
    /// The next signing key.
    #[n(0)]
    pub signing_key: SigningPublicKey,
    /// The next KEM key.
    #[n(1)]
    pub kem_key: KemPublicKey,
    /// The signing key before.
    #[n(2)]
    pub previous: Kid,
    /// By the next key, over `"reverie-host-key-v1" ‖ node ‖ previous ‖ signing_key ‖ kem_key`: the holder of the key before
    /// signs the record, the holder of the next proves that it has it.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub proof: [u8; 64],
    /// What of the key before still counts, this record aside. What can be replaced is said again with the next key.
    #[n(4)]
    pub upheld: Upheld,
}

/// `confirmations/<node>/<previous>`: of a host's next keys this one followed. Whoever has the key before may make another
/// record, and it comes to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Confirmation {
    /// Whose.
    #[n(0)]
    pub node: NodeId,
    /// The signing key before.
    #[n(1)]
    pub previous: Kid,
    /// Hash of the record in `host_keys`.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub record: [u8; 32],
}

/// `evictions/<node>/<author>`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Eviction {
    /// Who.
    #[n(0)]
    pub node: NodeId,
    /// If it left by itself: the keys that end. Otherwise empty, and every key ends that was not admitted in knowledge of
    /// this record.
    #[n(1)]
    pub keys: Vec<Kid>,
    /// Why, for people; at most 200 bytes.
    #[n(2)]
    pub reason: String,
    /// It left by itself.
    #[n(3)]
    pub left: bool,
    /// What still counts of those keys.
    #[n(4)]
    pub upheld: Upheld,
    /// How far the host was heard: where it begins anew if it comes back. What counts does not depend on it.
    #[n(5)]
    pub heard: Position,
}

/// `revocations/<issuer>/<serial>`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revocation {
    /// Since when.
    #[n(0)]
    pub at: Moment,
    /// When the certificate ends, after which nobody needs the record.
    #[n(1)]
    pub not_after: Moment,
}

/// `bundles/<fingerprint>`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BundleRoot {
    /// DER.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub certificate: Vec<u8>,
    /// From when on it signs.
    #[n(1)]
    pub signs_from: Moment,
}

/// `intermediates/<fingerprint>`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HostIntermediate {
    /// Whose.
    #[n(0)]
    pub node: NodeId,
    /// Fingerprint of the root that signed it.
    #[n(1)]
    pub root: String,
    /// DER.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub certificate: Vec<u8>,
}

/// `crls/<issuer>`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevocationList {
    /// DER; at most 512 KiB. A longer one is not gossiped: the issuer is to be replaced.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub list: Vec<u8>,
    /// RFC 5280 §5.2.3.
    #[n(1)]
    pub number: u64,
}

/// `signing_keys/<kid>`, the kid being the name of `public_key`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TokenKey {
    /// Verifies tokens of this host.
    #[n(0)]
    pub public_key: SigningPublicKey,
    /// Which tokens.
    #[n(1)]
    pub purpose: Purpose,
    /// When the last token under it has ended.
    #[n(2)]
    pub until: Moment,
}

/// `wrapping_keys/<version>`. The key itself is pulled, sealed to whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WrappingKeyVersion {
    /// Counts up.
    #[n(0)]
    pub version: u64,
    /// SHA-256 of `"reverie-wrapping-key-v1" ‖ key`, so that a pulled key can be told from a wrong one.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// When it was made.
    #[n(2)]
    pub made_at: Moment,
}

/// `floors/<author>`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Floor {
    /// Tombstones of the author up to here are gone.
    #[n(0)]
    pub collected: Position,
}

/// `issuing_limits/<node>`: what a host may issue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, schemars::JsonSchema)]
#[cbor(map)]
pub struct IssuingLimits {
    /// DNS names equal to one of these or below it. None: no DNS name at all.
    #[n(0)]
    pub dns: Vec<String>,
    /// Networks (CIDR). None: no address at all.
    #[n(1)]
    pub addresses: Vec<Network>,
    /// SPIFFE paths that equal one of these or lie below it, e.g. `/svc/web`. None: no SPIFFE ID at all.
    #[n(2)]
    pub spiffe: Vec<String>,
    /// Subjects of tokens, by suffix; for hosts that issue tokens.
    #[n(3)]
    pub token_subjects: Vec<String>,
    /// Audiences of tokens.
    #[n(4)]
    pub token_audiences: Vec<String>,
}

/// A network, as `address/bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// Length of the prefix.
    pub bits: u8,
}

impl<C> Encode<C> for Network {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let octets = match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        encoder.array(2)?.bytes(&octets)?.u8(self.bits)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Network {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let wrong = || minicbor::decode::Error::message("not a network");
        if decoder.array()? != Some(2) {
            return Err(wrong());
        }
        let octets = decoder.bytes()?;
        let address = match octets.len() {
            4 => <[u8; 4]>::try_from(octets).map(IpAddr::from).map_err(|_| wrong())?,
            16 => <[u8; 16]>::try_from(octets).map(IpAddr::from).map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        let bits = decoder.u8()?;
        if bits > if address.is_ipv4() { 32 } else { 128 } { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

/// `audit_heads/<node>`: the newest signed head, as in `heads.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AuditHead {
    /// JSON of `reverie_core::audit::SignedHead`; at most 4 KiB.
    #[n(0)]
    pub signed: String,
}
