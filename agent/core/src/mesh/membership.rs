//! Who may bring in, put out and promote whom, by the view.

use std::fmt;

use super::collection::{Collection, Node, Standing};
use super::crypto::{KemPublicKey, Kid, SigningPublicKey};
use super::members::{MAX_ROTATIONS, Member};
use super::view::View;
use crate::id::NodeId;

/// Something that is not done, with the status for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What happened.
    pub message: String,
    /// What to try.
    pub advice: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: u16, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status, message: message.into(), advice: advice.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.advice)
    }
}

impl std::error::Error for Refusal {}

fn standing(view: &View<'_>, node: &NodeId) -> Option<Standing> {
    view.members().get(node).and_then(|member| member.standing)
}

/// Names of the authorities, for advice.
fn where_to(view: &View<'_>) -> String {
    let reached = |node: &NodeId| view.read::<Node>(Collection::Nodes, node.as_str())?.addresses.into_iter().next();
    let name = |node: &NodeId| reached(node).map_or_else(|| node.to_string(), |address| format!("{node} ({address})"));
    let names: Vec<String> = view.authorities().into_iter().map(name).take(4).collect();
    format!("do it on an authority: {}", names.join(", "))
}

/// Whether this host may do what only authorities do; `what` follows "to".
pub fn lead(view: &View<'_>, us: &NodeId, what: &str) -> Result<(), Refusal> {
    match standing(view, us) {
        Some(Standing::Authority) => Ok(()),
        Some(Standing::Member) => Err(Refusal::new(
            403,
            format!("this host is a member of the mesh, and it takes an authority to {what}"),
            where_to(view),
        )),
        None => Err(Refusal::new(403, "this host is not in the mesh any more", "agentctl mesh status says why")),
    }
}

/// What helps a host that is not on the list.
const LIST: &str = "add it to [gossip] allowed_node_ids there, or to the topology in the directory";
const LEFT: &str = "left the mesh";
const PUT_OUT: &str = "was put out of the mesh";

/// Why a host that is out takes no part, as others tell it.
pub fn out(node: &NodeId, left: bool) -> String {
    format!("{node} {}; `agentctl mesh readmit` on an authority lets it in again", if left { LEFT } else { PUT_OUT })
}

/// Why a host that is in, and not on the list, takes none.
pub fn not_listed(node: &NodeId) -> String {
    format!("{node} is not on the list of hosts that may take part; {LIST}")
}

/// Whether a reason that another host gave is that of [`out`].
pub fn says_out(why: &str) -> bool {
    why.contains(LEFT) || why.contains(PUT_OUT)
}

/// Whether a token may be made for `node`. `again`: for one that was a member before, whose keys end with it; `allowed`: it is
/// on the list. A host that is not would be put out, and not let in by its token.
pub fn invite(view: &View<'_>, us: &NodeId, node: &NodeId, again: bool, allowed: bool) -> Result<(), Refusal> {
    lead(view, us, if again { "readmit a host" } else { "invite a host" })?;
    if node == us {
        return Err(Refusal::new(409, format!("{node} is this host"), "name the host that is to join"));
    }
    match (view.members().get(node), again) {
        (Some(_), true) if !allowed => {
            Err(Refusal::new(409, format!("{node} is not on the list of hosts that may take part, and stays as it is"), LIST))
        }
        (None, false) | (Some(_), true) => Ok(()),
        (None, true) => {
            Err(Refusal::new(404, format!("{node} was never in this mesh"), format!("agentctl mesh invite {node} lets it join")))
        }
        (Some(Member { standing: Some(_), .. }), false) => Err(Refusal::new(
            409,
            format!("{node} is in the mesh already"),
            format!("if it lost its keys: agentctl mesh readmit {node}, which ends those it had"),
        )),
        (Some(member), false) => {
            let by = member.evicted.as_ref().map_or_else(String::new, |out| format!(" by {}: {}", out.by, out.reason));
            let message = format!("{node} was in this mesh and was put out{by}");
            Err(Refusal::new(409, message, format!("if it is to come back: agentctl mesh readmit {node}")))
        }
    }
}

/// Whether a host may be admitted with these keys. `again`: its token says that it was a member before; `allowed`: it is on
/// the list of those who may speak to us, if there is one.
pub fn admit(
    view: &View<'_>,
    node: &NodeId,
    signing: &SigningPublicKey,
    kem: &KemPublicKey,
    again: bool,
    allowed: bool,
) -> Result<(), Refusal> {
    if !allowed {
        return Err(Refusal::new(403, format!("{node} is not on the list of hosts that may take part"), LIST));
    }
    if let Some(holder) = holder_of(view, signing.kid(), kem.kid()) {
        return Err(Refusal::new(
            409,
            format!("these keys are those of {holder} already"),
            "a host makes keys of its own; remove the copied state directory on the new host, then join again",
        ));
    }
    match standing(view, node) {
        Some(_) if !again => Err(Refusal::new(
            409,
            format!("{node} is in the mesh already, with other keys"),
            format!("if it lost them: agentctl mesh readmit {node} on an authority, then join with that token"),
        )),
        None if !again && view.members().get(node).is_some() => Err(Refusal::new(
            403,
            format!("{node} was put out of the mesh"),
            format!("if it is to come back: agentctl mesh readmit {node} on an authority, then join with that token"),
        )),
        _ => Ok(()),
    }
}

/// Who has, or ever had, one of these keys.
fn holder_of<'a>(view: &View<'a>, signing: Kid, kem: Kid) -> Option<&'a NodeId> {
    let has = |member: &Member| {
        let kems = member.keys.iter().chain(&member.previous).filter_map(|key| key.kem_key.as_ref());
        member.kids.contains(&signing) || kems.map(KemPublicKey::kid).any(|known| known == kem)
    };
    view.members().hosts().iter().find(|(_, member)| has(member)).map(|(node, _)| node)
}

/// Whether this host may put `node` out.
pub fn evict(view: &View<'_>, us: &NodeId, node: &NodeId) -> Result<(), Refusal> {
    lead(view, us, "put a host out")?;
    if node == us {
        return Err(Refusal::new(
            409,
            "a host does not put itself out",
            "agentctl mesh leave takes it out of the mesh; if it is lost, put it out on another authority",
        ));
    }
    match view.members().get(node) {
        None => Err(Refusal::new(404, format!("{node} was never in this mesh"), "agentctl mesh peers lists who is")),
        Some(Member { standing: None, .. }) => {
            Err(Refusal::new(409, format!("{node} is out of the mesh already"), "there is nothing left to do"))
        }
        Some(_) => Ok(()),
    }
}

/// Whether this host may leave. The last authority would leave hosts behind that nobody renews, admits or puts out.
pub fn leave(view: &View<'_>, us: &NodeId) -> Result<(), Refusal> {
    let others = |(node, member): &(&NodeId, &Member)| *node != us && member.standing.is_some();
    let left: Vec<_> = view.members().hosts().iter().filter(others).collect();
    let leads = left.iter().any(|(_, member)| member.standing == Some(Standing::Authority));
    match standing(view, us) {
        None => Err(Refusal::new(409, "this host is not in the mesh any more", "agentctl mesh status says why")),
        Some(Standing::Authority) if !leads && !left.is_empty() => Err(Refusal::new(
            409,
            format!("this host is the last authority, and {} others need one", left.len()),
            format!("promote another first: agentctl mesh promote {}", left[0].0),
        )),
        Some(_) => Ok(()),
    }
}

/// Whether this host may go on to its next keys.
pub fn rotate(view: &View<'_>, us: &NodeId) -> Result<(), Refusal> {
    match view.members().get(us) {
        Some(member) if member.rotations >= MAX_ROTATIONS => Err(Refusal::new(
            409,
            format!("this host has gone on to its next keys {MAX_ROTATIONS} times since it was admitted, and that is the most"),
            format!("agentctl mesh readmit {us} on an authority begins anew"),
        )),
        _ => Ok(()),
    }
}

/// Whether this host may make `node` an authority.
pub fn promote(view: &View<'_>, us: &NodeId, node: &NodeId) -> Result<(), Refusal> {
    lead(view, us, "promote a member")?;
    match standing(view, node) {
        Some(Standing::Member) => Ok(()),
        Some(Standing::Authority) => {
            Err(Refusal::new(409, format!("{node} is an authority already"), "there is nothing left to do"))
        }
        None => Err(Refusal::new(404, format!("{node} is not in this mesh"), "agentctl mesh peers lists who is")),
    }
}

/// What a registration by Kerberos comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Nothing was known of the host: both keys are taken.
    Fresh,
    /// The KEM key is known, with another signing key: the new one is taken. Only for a member that came by Kerberos: its
    /// keytab has been all its proof from the beginning.
    SigningKeyOnly,
    /// Both are known.
    Nothing,
}

/// Judges a registration by Kerberos: `principal` is proven, all else is the caller's word.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// `HTTP/host@REALM`.
    pub principal: &'a str,
    /// Who, by its word.
    pub node: &'a NodeId,
    /// Its keys.
    pub signing: &'a SigningPublicKey,
    /// Its KEM key.
    pub kem: &'a KemPublicKey,
}

/// Judges who asks: only the HTTP service of a host may register that host, and only in our realm. What a realm that ours
/// trusts calls its principals says nothing of our hosts.
pub fn principal(claim: Claim<'_>, realm: &str) -> Result<(), Refusal> {
    let refused = |message: String, advice: &str| Err(Refusal::new(403, message, advice));
    let shown: String = claim.principal.chars().take(200).collect();
    let parts = claim.principal.strip_prefix("HTTP/").and_then(|rest| rest.rsplit_once('@'));
    let Some((host, theirs)) =
        parts.filter(|(host, realm)| !host.is_empty() && !realm.is_empty() && !host.contains(['/', '@', '\\']))
    else {
        return refused(
            format!("{shown:?} is not the HTTP service of a host"),
            "register with the host's own HTTP/HOST@REALM key, from its keytab",
        );
    };
    if theirs != realm {
        return refused(
            format!("{shown:?} is not of the realm that this mesh takes hosts from, {realm}"),
            "register with the key of that realm, or set [gossip] kerberos_realm there",
        );
    }
    // Host names know no case; node ids are lower case.
    if !host.eq_ignore_ascii_case(claim.node.as_str()) {
        return refused(
            format!("{shown:?} may not register {}", claim.node),
            "set node_id to the host's own fully qualified name, as its principal has it",
        );
    }
    Ok(())
}

/// What to do with its keys. A known host's KEM key is never replaced.
pub fn register(view: &View<'_>, claim: Claim<'_>, allowed: bool) -> Result<Registration, Refusal> {
    let (node, kem) = (claim.node, claim.kem.kid());
    let member = match view.members().get(node) {
        None => return admit(view, node, claim.signing, claim.kem, false, allowed).map(|()| Registration::Fresh),
        Some(member) if member.standing.is_some() => member,
        Some(_) => return admit(view, node, claim.signing, claim.kem, false, allowed).map(|()| Registration::Fresh),
    };
    if !allowed {
        return admit(view, node, claim.signing, claim.kem, false, false).map(|()| Registration::Nothing);
    }
    let known = member.keys.iter().any(|key| key.kem_key.as_ref().is_some_and(|key| key.kid() == kem));
    if !known && member.keys.iter().any(|key| key.kem_key.is_some()) {
        return Err(Refusal::new(
            409,
            format!("{node} is known with another KEM key"),
            format!("if it lost its keys: agentctl mesh readmit {node} on an authority, then join with that token"),
        ));
    }
    let same = |key: &super::members::MemberKey| {
        key.signing_key == *claim.signing && key.kem_key.as_ref().is_some_and(|key| key.kid() == kem)
    };
    if member.keys.iter().any(same) {
        return Ok(Registration::Nothing);
    }
    // Another host's key, or one that this host gave up, is not taken.
    let kid = claim.signing.kid();
    let in_use = view.members().hosts().iter().any(|(_, other)| other.kids.contains(&kid));
    let own = member.keys.iter().any(|key| key.signing_key == *claim.signing);
    let conflict = |message: String, advice: String| Err(Refusal::new(409, message, advice));
    match (in_use && !own, own || (member.by == "kerberos" && member.standing == Some(Standing::Member))) {
        (true, _) => {
            conflict("the signing key is in use already".into(), "a host makes keys of its own; remove the copied state".into())
        }
        (false, false) => conflict(
            format!("{node} is known with another signing key, and did not come by Kerberos"),
            format!("if it lost its keys: agentctl mesh readmit {node} on an authority, then join with that token"),
        ),
        (false, true) => Ok(Registration::SigningKeyOnly),
    }
}

#[cfg(test)]
mod tests;
