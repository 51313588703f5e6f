//! What a new member is given. Its `net` opens the envelope, so nothing here is believed for having come: the mesh is
//! named by the founder's key, records carry their own signatures, certificates chain to roots that records name, and the
//! wrapping key is sealed once more, to a key that only the keeper holds.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::id::{NodeId, TrustDomain};
use crate::mesh::crypto::{KemPublicKey, Kid, SigningPublicKey};
use crate::mesh::strict::{self, Unreadable};
use crate::mesh::wrapping::{MAX_KEYS, SealedKey};

/// Bytes of an answer.
pub const MAX_ANSWER: usize = 1 << 20;
/// Bytes of its records.
pub const MAX_RECORDS: usize = 768 << 10;
/// Certificates of a chain, and roots.
pub const MAX_CERTIFICATES: usize = 64;

/// The answer to a joiner and to a renewal, CBOR.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Answer {
    /// Names the request: [`super::request::binding`], or SHA-256 of the renewal request.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub binding: [u8; 32],
    /// The mesh.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub mesh: [u8; 16],
    /// Its trust domain.
    #[n(2)]
    pub trust_domain: TrustDomain,
    /// For whom this is.
    #[n(3)]
    pub node: NodeId,
    /// Who founded the mesh.
    #[n(4)]
    pub founder: NodeId,
    /// The key it was founded with; names the mesh.
    #[n(5)]
    pub founder_key: SigningPublicKey,
    /// Who answers.
    #[n(6)]
    pub issuer: NodeId,
    /// Its signing key.
    #[n(7)]
    pub issuer_key: SigningPublicKey,
    /// Its KEM key.
    #[n(8)]
    pub issuer_kem: KemPublicKey,
    /// The intermediate that was issued, then the root that signed it, DER.
    #[n(10)]
    pub chain: Vec<ByteVec>,
    /// The roots to trust, DER, until the records say so themselves.
    #[n(11)]
    pub roots: Vec<ByteVec>,
    /// Every version of the cluster wrapping key that is in use.
    #[n(12)]
    pub wrapping_keys: Vec<SealedKey>,
    /// The first records: admissions, keys and evictions before all else.
    #[n(13)]
    pub records: Vec<ByteVec>,
    /// There are more; they come by gossip.
    #[n(14)]
    pub more: bool,
}

/// What the host that asked knows already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Of its request.
    pub binding: [u8; 32],
    /// Itself.
    pub node: NodeId,
    /// As configured.
    pub trust_domain: TrustDomain,
    /// From the token, or from its own store; none when joining by Kerberos.
    pub mesh: Option<[u8; 16]>,
    /// Who was asked, and names of its signing and KEM key; none when joining by Kerberos.
    pub issuer: Option<(NodeId, Kid, Option<Kid>)>,
}

/// Why an answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not an answer.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It belongs to another question.
    #[error(
        "the answer is to another request than ours: someone on the way replayed it; try again, and look at who is in between"
    )]
    Replayed,
    /// It is for somebody else.
    #[error("the answer is for the host {0}, not for this one; try again")]
    OtherHost(NodeId),
    /// Another trust domain.
    #[error("that mesh is of the trust domain {theirs}, this host is configured for {ours}: set trust_domain in agent.toml")]
    OtherDomain {
        /// The mesh's.
        theirs: TrustDomain,
        /// As configured.
        ours: TrustDomain,
    },
    /// The founder's key does not name the mesh, or it is not the one the token names.
    #[error("the answer names another mesh than the token; have a new token made, and join at the host that made it")]
    OtherMesh,
    /// Not by the host that was asked.
    #[error("the answer is not by the host that was asked; join at the host that made the token")]
    OtherIssuer,
}

/// Names a mesh: the first 16 bytes of SHA-256 over `"reverie-mesh-v1" ‖ trust domain ‖ 0 ‖ founding signing key`.
pub fn mesh_id(trust_domain: &TrustDomain, founder_key: &SigningPublicKey) -> [u8; 16] {
    let hash = Sha256::new().chain_update(b"reverie-mesh-v1").chain_update(trust_domain.as_str()).chain_update([0]);
    let mut id = [0; 16];
    id.copy_from_slice(&hash.chain_update(founder_key.0).finalize()[..16]);
    id
}

impl Answer {
    /// CBOR.
    pub fn encode(&self) -> Vec<u8> {
        strict::encode(self)
    }

    /// Reads an answer; nothing in it is known to be true yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let what = "the answer";
        let answer: Self = strict::decode(bytes, MAX_ANSWER, what)?;
        let bounded = answer.chain.len() <= MAX_CERTIFICATES
            && answer.roots.len() <= MAX_CERTIFICATES
            && answer.wrapping_keys.len() <= MAX_KEYS;
        if bounded { Ok(answer) } else { Err(Unreadable { what }) }
    }

    /// Reads an answer and checks everything in it that needs no record.
    pub fn check(bytes: &[u8], expected: &Expected) -> Result<Self, AnswerError> {
        let answer = Self::decode(bytes)?;
        if answer.binding != expected.binding {
            return Err(AnswerError::Replayed);
        }
        if answer.node != expected.node {
            return Err(AnswerError::OtherHost(answer.node));
        }
        if answer.trust_domain != expected.trust_domain {
            return Err(AnswerError::OtherDomain { theirs: answer.trust_domain, ours: expected.trust_domain.clone() });
        }
        let named = mesh_id(&answer.trust_domain, &answer.founder_key);
        if answer.mesh != named || expected.mesh.is_some_and(|mesh| mesh != named) {
            return Err(AnswerError::OtherMesh);
        }
        match &expected.issuer {
            Some((issuer, key, kem))
                if *issuer != answer.issuer
                    || *key != answer.issuer_key.kid()
                    || kem.is_some_and(|kem| kem != answer.issuer_kem.kid()) =>
            {
                Err(AnswerError::OtherIssuer)
            }
            _ => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::binding;
    use super::super::request::tests::request;
    use super::super::token::tests::token;
    use super::*;

    fn answer() -> Answer {
        let token = token();
        Answer {
            binding: binding(&request()),
            mesh: mesh_id(&token.trust_domain, &token.issuer_key),
            trust_domain: token.trust_domain,
            node: token.node,
            founder: token.issuer.clone(),
            founder_key: token.issuer_key.clone(),
            issuer: token.issuer,
            issuer_key: token.issuer_key,
            issuer_kem: KemPublicKey(Box::new([2; 1184])),
            chain: vec![vec![1].into(), vec![2].into()],
            roots: vec![vec![2].into()],
            wrapping_keys: vec![],
            records: vec![vec![3; 100].into()],
            more: true,
        }
    }

    fn expected() -> Expected {
        let answer = answer();
        Expected {
            binding: answer.binding,
            node: answer.node,
            trust_domain: answer.trust_domain,
            mesh: Some(answer.mesh),
            issuer: Some((answer.issuer, answer.issuer_key.kid(), Some(answer.issuer_kem.kid()))),
        }
    }

    #[test]
    fn an_answer_reads_back() {
        assert_eq!(Answer::check(&answer().encode(), &expected()), Ok(answer()));
        let by_kerberos = Expected { mesh: None, issuer: None, ..expected() };
        assert_eq!(Answer::check(&answer().encode(), &by_kerberos), Ok(answer()));
    }

    #[test]
    fn an_answer_to_another_request_is_a_replay() {
        let mut again = request();
        again.exporter = [1; 32];
        let expected = Expected { binding: binding(&again), ..expected() };
        assert_eq!(Answer::check(&answer().encode(), &expected), Err(AnswerError::Replayed));
    }

    #[test]
    fn an_answer_of_another_mesh_host_or_domain_is_refused() {
        let mut founder = answer();
        founder.founder_key.0[9] ^= 1;
        assert_eq!(Answer::check(&founder.encode(), &expected()), Err(AnswerError::OtherMesh));
        founder.mesh = mesh_id(&founder.trust_domain, &founder.founder_key);
        assert_eq!(Answer::check(&founder.encode(), &expected()), Err(AnswerError::OtherMesh), "a mesh of the attacker's own");
        let other = Answer { node: "db.example.org".parse().unwrap(), ..answer() };
        assert!(matches!(Answer::check(&other.encode(), &expected()), Err(AnswerError::OtherHost(_))));
        let other = Answer { trust_domain: "example.com".parse().unwrap(), ..answer() };
        assert!(matches!(Answer::check(&other.encode(), &expected()), Err(AnswerError::OtherDomain { .. })));
        let other = Answer { issuer: "db.example.org".parse().unwrap(), ..answer() };
        assert_eq!(Answer::check(&other.encode(), &expected()), Err(AnswerError::OtherIssuer));
        let other = Answer { issuer_kem: KemPublicKey(Box::new([3; 1184])), ..answer() };
        assert_eq!(Answer::check(&other.encode(), &expected()), Err(AnswerError::OtherIssuer));
    }

    #[test]
    fn an_answer_beyond_its_bounds_is_not_read() {
        let mut long = answer();
        long.records = vec![vec![0; MAX_ANSWER].into()];
        let mut many = answer();
        many.roots = vec![vec![0].into(); MAX_CERTIFICATES + 1];
        let mut trailing = answer().encode();
        trailing.push(0);
        for bytes in [long.encode(), many.encode(), trailing, vec![]] {
            assert!(matches!(Answer::check(&bytes, &expected()), Err(AnswerError::Unreadable(_))));
        }
    }
}
