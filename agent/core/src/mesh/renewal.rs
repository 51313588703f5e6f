//! How a member has its intermediate renewed: by any authority, on the word of its own key, never by certificates. So a host
//! whose certificates have all ended while it was off comes back by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use super::crypto::{CryptoFailure, Kid, PublicOperations, Signer, SigningPublicKey};
use super::join::request::MAX_CSR;
use super::membership::Refusal;
use super::strict::{self, Unreadable};
use crate::id::NodeId;
use crate::moment::Moment;
use crate::renewal::Validity;

/// What the signature begins with.
const CONTEXT: &[u8] = b"reverie-renewal-v1";
/// Bytes of a request.
pub const MAX_REQUEST: usize = 12 << 10;
/// A request is good for so long.
pub const MAX_AGE: Duration = Duration::from_secs(300);
/// And may lie so far ahead.
pub const MAX_SKEW: Duration = Duration::from_secs(30);
/// Requests remembered against replay: in all.
const MAX_SEEN: usize = 4096;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Wanted {
    /// The next intermediate.
    #[n(0)]
    Intermediate,
    /// All that a joiner gets: after the keys were registered by Kerberos, or after promotion to learn more.
    #[n(1)]
    Membership,
}

/// What a member asks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Statement {
    /// The mesh; none while it is not known: a joiner by Kerberos.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub mesh: Option<[u8; 16]>,
    /// Who.
    #[n(1)]
    pub node: NodeId,
    /// With which of its keys.
    #[n(2)]
    pub kid: Kid,
    /// Whom.
    #[n(3)]
    pub authority: NodeId,
    /// Random.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// When, by the member's clock.
    #[n(5)]
    pub at: Moment,
    /// What.
    #[n(6)]
    pub wanted: Wanted,
    /// A certificate request for the intermediate, DER.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub csr: Vec<u8>,
}

/// A statement with the member's signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RenewalRequest {
    /// What is asked.
    #[n(0)]
    pub statement: Statement,
    /// ECDSA P-256/SHA-256, r ‖ s, over `"reverie-renewal-v1"` and the statement.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub proof: [u8; 64],
}

fn signed(statement: &Statement) -> Vec<u8> {
    [CONTEXT, &strict::encode(statement)].concat()
}

impl RenewalRequest {
    /// Signs what is asked.
    pub fn sign(statement: Statement, signer: &dyn Signer) -> Result<Self, CryptoFailure> {
        let proof = signer.sign(&signed(&statement))?;
        Ok(Self { statement, proof })
    }

    /// CBOR.
    pub fn encode(&self) -> Vec<u8> {
        strict::encode(self)
    }

    /// Reads one; nothing in it is known to be true yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let what = "the renewal request";
        let request: Self = strict::decode(bytes, MAX_REQUEST, what)?;
        let bounded = request.statement.csr.len() <= MAX_CSR;
        if bounded { Ok(request) } else { Err(Unreadable { what }) }
    }

    /// Names a request; its answer repeats it.
    pub fn binding(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    /// Judges it: by `key`, which is the one in force for that node and kid; meant for `us`, in `mesh`; neither old nor early.
    pub fn judge(
        &self,
        operations: &dyn PublicOperations,
        key: &SigningPublicKey,
        us: &NodeId,
        mesh: &[u8; 16],
        now: Moment,
    ) -> Result<(), Refusal> {
        let asked = &self.statement;
        if key.kid() != asked.kid || operations.verify(key, &signed(asked), &self.proof).is_err() {
            let advice = "join again: agentctl mesh readmit on an authority makes a token";
            return Err(Refusal::new(
                401,
                format!("the request is not signed by the key that is in force for {}", asked.node),
                advice,
            ));
        }
        if asked.authority != *us || asked.mesh.is_some_and(|theirs| theirs != *mesh) {
            return Err(Refusal::new(409, "the request is meant for another host or another mesh", "ask that one"));
        }
        if asked.at > now.after(MAX_SKEW) || now > asked.at.after(MAX_AGE) {
            return Err(Refusal::new(
                409,
                format!("the request is of {} by your clock, it is {now} by ours", asked.at),
                "set the clocks right; timedatectl shows whether one is kept so",
            ));
        }
        Ok(())
    }
}

/// Requests seen, so that none is answered twice.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<[u8; 32], Moment>);

impl Seen {
    /// Notes a request that was judged good; false if it came before, or if there are too many to be sure.
    pub fn admit(&mut self, binding: [u8; 32], now: Moment) -> bool {
        self.0.retain(|_, at| now <= at.after(MAX_AGE + MAX_SKEW));
        if self.0.len() >= MAX_SEEN || self.0.contains_key(&binding) {
            return false;
        }
        self.0.insert(binding, now);
        true
    }
}

/// How often renewal was tried in vain, and when last. Not durable: after a start it is tried at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    /// In a row.
    pub failed: u32,
    /// The last one.
    pub last: Option<Moment>,
}

/// The first pause after an attempt in vain; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// The longest.
const LAST_PAUSE: Duration = Duration::from_secs(1800);
/// An alarm stands when less than a quarter of the life is left.
const ALARM_SHARE: u32 = 4;

/// What to do about a member's intermediate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Look again then.
    Wait(Moment),
    /// Ask the authority at this place of the list, modulo its length.
    Ask(usize),
}

/// When the life is half over, ask; after an attempt in vain, the next authority, after a pause. `validity` is that of the
/// newest intermediate, none if there is none. `jitter` (0 to `u16::MAX`) spreads hosts over a tenth of the life.
pub fn plan(validity: Option<Validity>, attempts: Attempts, jitter: u16, now: Moment) -> Plan {
    let due = validity.map_or(now, |life| crate::renewal::renew_at(life, &crate::renewal::Renewal::default(), jitter));
    let pause = FIRST_PAUSE.saturating_mul(1 << attempts.failed.saturating_sub(1).min(16)).min(LAST_PAUSE);
    // A clock that was set back must not keep it waiting for years.
    let again = attempts.last.filter(|last| *last <= now).map_or(now, |last| last.after(pause));
    match due.max(again) {
        at if at <= now => Plan::Ask(attempts.failed as usize),
        at => Plan::Wait(at),
    }
}

/// True if renewal failed and the end is near: people should know.
pub fn is_alarming(validity: Option<Validity>, attempts: Attempts, now: Moment) -> bool {
    let near = |life: Validity| life.not_after.since(now) < life.not_after.since(life.not_before) / ALARM_SHARE;
    attempts.failed > 0 && validity.is_none_or(near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::fake::fake;

    const NOW: Moment = Moment::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn life() -> Validity {
        Validity { not_before: NOW.before(DAY * 10), not_after: NOW.after(DAY * 50) }
    }

    fn statement() -> Statement {
        Statement {
            mesh: Some([1; 16]),
            node: "web1.example.org".parse().unwrap(),
            kid: fake(7).0.kid(),
            authority: "first.example.org".parse().unwrap(),
            nonce: [2; 16],
            at: NOW,
            wanted: Wanted::Intermediate,
            csr: vec![0x30, 0],
        }
    }

    fn judged(change: impl FnOnce(&mut Statement), by: u8, now: Moment) -> Result<(), u16> {
        let mut statement = statement();
        change(&mut statement);
        let request = RenewalRequest::sign(statement, &fake(by)).unwrap();
        let request = RenewalRequest::decode(&request.encode()).unwrap();
        let us = "first.example.org".parse().unwrap();
        request.judge(&fake(0), &fake(7).0, &us, &[1; 16], now).map_err(|refusal| refusal.status)
    }

    #[test]
    fn a_member_is_known_by_its_pinned_key_alone() {
        assert_eq!(judged(|_| {}, 7, NOW), Ok(()));
        assert_eq!(judged(|_| {}, 8, NOW), Err(401), "signed by another key");
        assert_eq!(judged(|asked| asked.kid = fake(8).0.kid(), 8, NOW), Err(401), "by a key that is not in force");
        let mut forged = RenewalRequest::sign(statement(), &fake(7)).unwrap();
        forged.statement.csr = vec![0x30, 1, 0];
        let us = "first.example.org".parse().unwrap();
        assert_eq!(forged.judge(&fake(0), &fake(7).0, &us, &[1; 16], NOW).unwrap_err().status, 401, "another certificate key");
    }

    #[test]
    fn a_request_for_another_host_or_mesh_is_refused() {
        assert_eq!(judged(|asked| asked.authority = "db.example.org".parse().unwrap(), 7, NOW), Err(409));
        assert_eq!(judged(|asked| asked.mesh = Some([9; 16]), 7, NOW), Err(409));
        assert_eq!(judged(|asked| asked.mesh = None, 7, NOW), Ok(()), "a joiner by Kerberos does not know it yet");
    }

    #[test]
    fn an_old_request_and_one_from_the_future_are_refused() {
        assert_eq!(judged(|_| {}, 7, NOW.after(MAX_AGE)), Ok(()));
        assert_eq!(judged(|_| {}, 7, NOW.after(MAX_AGE + Duration::from_millis(1))), Err(409));
        assert_eq!(judged(|_| {}, 7, NOW.before(MAX_SKEW)), Ok(()));
        assert_eq!(judged(|_| {}, 7, NOW.before(MAX_SKEW + Duration::from_millis(1))), Err(409));
    }

    #[test]
    fn a_request_is_answered_once() {
        let mut seen = Seen::default();
        assert!(seen.admit([1; 32], NOW) && !seen.admit([1; 32], NOW.after(MAX_AGE)));
        assert!(seen.admit([2; 32], NOW));
        // When it is forgotten, it is too old as well.
        let later = NOW.after(MAX_AGE + MAX_SKEW + Duration::from_millis(1));
        assert!(seen.admit([3; 32], later) && seen.0.len() == 1);
        let mut full = Seen::default();
        for number in 0..MAX_SEEN as u64 {
            let mut binding = [0; 32];
            binding[..8].copy_from_slice(&number.to_be_bytes());
            assert!(full.admit(binding, NOW));
        }
        assert!(!full.admit([0xff; 32], NOW), "bounded, and closed when full");
    }

    #[test]
    fn renewal_begins_at_half_of_the_life_and_goes_from_authority_to_authority() {
        let at = |days: u32, attempts| plan(Some(life()), attempts, 0, NOW.after(DAY * days));
        assert_eq!(at(0, Attempts::default()), Plan::Wait(NOW.after(DAY * 20)));
        assert_eq!(at(20, Attempts::default()), Plan::Ask(0));
        let failed = Attempts { failed: 1, last: Some(NOW.after(DAY * 20)) };
        assert_eq!(at(20, failed), Plan::Wait(NOW.after(DAY * 20 + FIRST_PAUSE)));
        assert_eq!(at(21, failed), Plan::Ask(1));
        let often = Attempts { failed: 4_000_000_000, last: Some(NOW.after(DAY * 20)) };
        assert_eq!(at(20, often), Plan::Wait(NOW.after(DAY * 20 + LAST_PAUSE)));
    }

    #[test]
    fn a_host_whose_intermediate_ended_or_is_missing_asks_at_once() {
        assert_eq!(plan(Some(life()), Attempts::default(), u16::MAX, NOW.after(DAY * 500)), Plan::Ask(0));
        assert_eq!(plan(None, Attempts::default(), u16::MAX, NOW), Plan::Ask(0));
        let set_back = Attempts { failed: 1, last: Some(NOW.after(DAY * 1000)) };
        assert_eq!(plan(None, set_back, 0, NOW), Plan::Ask(1), "the clock was set back");
    }

    #[test]
    fn an_alarm_stands_when_no_authority_was_reached_and_the_end_nears() {
        let failed = Attempts { failed: 3, last: Some(NOW) };
        assert!(!is_alarming(Some(life()), failed, NOW.after(DAY * 34)));
        assert!(is_alarming(Some(life()), failed, NOW.after(DAY * 36)));
        assert!(!is_alarming(Some(life()), Attempts::default(), NOW.after(DAY * 36)));
        assert!(is_alarming(None, failed, NOW));
    }
}
