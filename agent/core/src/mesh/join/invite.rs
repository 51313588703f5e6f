//! Whether a token is redeemed. The issuer remembers every token it made until some time after its end.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::request::{JoinRequest, applicant, is_authentic, is_bounded};
use crate::id::NodeId;
use crate::mesh::collection::IssuingLimits;
use crate::mesh::membership::Refusal;
use crate::moment::Moment;

/// The longest life of a token.
pub const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// So long after its end a token is remembered, so that whoever comes late is told why.
pub const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// A token as its issuer remembers it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Which.
    pub id: [u8; 16],
    /// As in the token.
    pub secret: Zeroizing<[u8; 32]>,
    /// Who may redeem it.
    pub node: NodeId,
    /// When it was made.
    pub made_at: Moment,
    /// When it ends.
    pub expires_at: Moment,
    /// What the host may issue.
    pub limits: IssuingLimits,
    /// For a host that was a member before: what it was is put out when the token is redeemed.
    pub readmission: bool,
    /// Who did.
    pub redeemed: Option<Redeemed>,
}

/// A token that was redeemed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeemed {
    /// [`applicant`] of the request.
    pub applicant: [u8; 32],
    /// When.
    pub at: Moment,
    /// What was issued: the intermediate and its root, DER.
    pub chain: Vec<Vec<u8>>,
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite").field("node", &self.node).field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// What to do with a request that is in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redemption {
    /// Admit the host, and mark the token redeemed in the same transaction.
    First,
    /// The same host lost the answer on its way: give it once more.
    Again(Redeemed),
}

/// Judges a request against the token it names, `None` if no such token is remembered. The caller holds the turn of
/// redeeming until the outcome is durable: two that redeem at once are judged one after the other.
pub fn judge(invite: Option<&Invite>, request: &JoinRequest, now: Moment) -> Result<Redemption, Refusal> {
    if !is_bounded(request) {
        return Err(Refusal::new(400, "the request to join is larger than allowed", "use the same version on both hosts"));
    }
    // One answer for an unknown token and for a wrong MAC: who holds no token learns nothing of those there are.
    let Some(invite) = invite.filter(|invite| is_authentic(&invite.secret, request)) else {
        return Err(Refusal::new(
            403,
            "this host does not know the token, or it was not this connection that the token was shown over",
            "join at the host that made the token, or have it make another: agentctl mesh invite",
        ));
    };
    if invite.node != request.node {
        return Err(Refusal::new(
            403,
            format!("the token is for {}, not for {}", invite.node, request.node),
            format!("have one made for it: agentctl mesh invite {}", request.node),
        ));
    }
    let asking = applicant(request);
    match &invite.redeemed {
        Some(redeemed) if redeemed.applicant != asking => Err(Refusal::new(
            409,
            format!("the token was redeemed at {} by other keys", redeemed.at),
            format!(
                "if that was not you, put that host out at once: agentctl mesh evict {0}; for another attempt have a new token \
                 made: agentctl mesh readmit {0}",
                invite.node
            ),
        )),
        _ if now >= invite.expires_at => Err(Refusal::new(
            403,
            format!("the token ended at {}", invite.expires_at),
            format!("have another made, on an authority: agentctl mesh invite {}", invite.node),
        )),
        Some(redeemed) => Ok(Redemption::Again(redeemed.clone())),
        None => Ok(Redemption::First),
    }
}

/// True once nobody has to be told of it any more.
pub fn is_forgotten(invite: &Invite, now: Moment) -> bool {
    now >= invite.expires_at.after(REMEMBERED)
}

#[cfg(test)]
mod tests {
    use super::super::request::authenticate;
    use super::super::request::tests::request;
    use super::super::token::tests::token;
    use super::*;

    const NOW: Moment = Moment::from_secs(1_799_999_000);

    fn invite() -> Invite {
        let token = token();
        Invite {
            id: token.id,
            secret: token.secret.clone(),
            node: token.node.clone(),
            made_at: NOW,
            expires_at: token.expires_at,
            limits: IssuingLimits::default(),
            readmission: false,
            redeemed: None,
        }
    }

    fn redeemed() -> Invite {
        let redeemed = Redeemed { applicant: applicant(&request()), at: NOW, chain: vec![vec![1]] };
        Invite { redeemed: Some(redeemed), ..invite() }
    }

    fn with(change: impl FnOnce(&mut JoinRequest)) -> JoinRequest {
        let mut request = request();
        change(&mut request);
        request.mac = authenticate(&token().secret, &request);
        request
    }

    fn refusal(invite: Option<&Invite>, request: &JoinRequest, now: Moment) -> (u16, String) {
        let refusal = judge(invite, request, now).unwrap_err();
        (refusal.status, refusal.to_string())
    }

    #[test]
    fn a_token_is_redeemed_by_its_host() {
        assert_eq!(judge(Some(&invite()), &request(), NOW), Ok(Redemption::First));
    }

    #[test]
    fn a_host_that_lost_the_answer_gets_it_again_over_a_new_connection() {
        let again = with(|request| request.exporter = [77; 32]);
        assert_eq!(judge(Some(&redeemed()), &again, NOW), Ok(Redemption::Again(redeemed().redeemed.unwrap())));
    }

    #[test]
    fn a_token_redeemed_once_is_of_no_use_to_other_keys() {
        for other in [with(|r| r.signing_key.0[5] ^= 1), with(|r| r.kem_key.0[5] ^= 1)] {
            let (status, told) = refusal(Some(&redeemed()), &other, NOW);
            assert_eq!(status, 409);
            assert!(told.contains("other keys") && told.contains("agentctl mesh evict web1.example.org"), "{told}");
        }
    }

    #[test]
    fn a_token_for_another_host_is_refused_by_name() {
        let other = with(|request| request.node = "web2.example.org".parse().unwrap());
        let (status, told) = refusal(Some(&invite()), &other, NOW);
        assert_eq!(status, 403);
        assert!(told.starts_with("the token is for web1.example.org, not for web2.example.org"), "{told}");
    }

    #[test]
    fn a_token_that_ended_is_refused_even_to_whom_it_was_given() {
        for invite in [invite(), redeemed()] {
            let (status, told) = refusal(Some(&invite), &request(), invite.expires_at);
            assert_eq!(status, 403);
            assert!(told.contains("the token ended at 2027-01-15"), "{told}");
        }
    }

    #[test]
    fn a_mac_over_another_connection_is_told_the_same_as_an_unknown_token() {
        let mut taken = request();
        taken.exporter = [1; 32];
        assert_eq!(refusal(Some(&invite()), &taken, NOW), refusal(None, &request(), NOW));
        // Nor does a wrong MAC learn that the token ended or was redeemed.
        assert_eq!(refusal(Some(&redeemed()), &taken, invite().expires_at), refusal(None, &request(), NOW));
    }

    #[test]
    fn a_token_is_remembered_for_a_while_after_its_end() {
        let end = invite().expires_at;
        assert!(!is_forgotten(&invite(), end) && is_forgotten(&invite(), end.after(REMEMBERED)));
    }
}
