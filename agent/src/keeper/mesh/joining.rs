//! This host joins a mesh: it makes keys, has net show a token (or a Kerberos ticket) to a member, checks everything that
//! comes back, and only then is in.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::api::mesh::JoinRequest as Asked;
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::config::is_host_and_port;
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Reply, TaskKind};
use reverie_core::mesh::collection::Standing;
use reverie_core::mesh::crypto::{Signer, SigningPublicKey};
use reverie_core::mesh::join::answer::{Answer, Expected};
use reverie_core::mesh::join::request::{JoinRequest, authenticate, binding, to_body};
use reverie_core::mesh::join::token::Token;
use reverie_core::mesh::membership::Refusal;
use reverie_core::mesh::set::{Anchor, Limits, Set};
use reverie_core::mesh::view::View;
use reverie_core::mesh::wrapping::Occasion;
use reverie_crypto::aws::Aws;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::rows::Phase;
use super::trouble::Trouble;
use super::{MeshError, MeshState, founding, wrapping};
use crate::keeper::identity::chain::Chain;
use crate::keeper::identity::{issuers, membership as issuing};
use crate::keeper::state::{Change, Table, Write};
use crate::keeper::{Keeper, clock, row};

/// Row of what this host asked to join with, kept until it is in: who asks again with the same token does so with the same
/// keys.
const ROW: &str = "joining";
/// For net to connect, post and open the answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// What this host asks to join with.
pub(super) struct Pending {
    /// The token; none by Kerberos.
    pub(super) token: Option<Token>,
    /// The intermediate it would like.
    pub(super) csr: Vec<u8>,
    /// What the answer must name: of the request sent last.
    pub(super) expected: Option<Expected>,
    /// By Kerberos: the handshake that was begun.
    pub(super) handshake: Option<super::kerberos::Begun>,
}

/// As stored.
#[derive(Serialize, Deserialize)]
struct Attempt {
    token_id: Option<[u8; 16]>,
}

/// Joins, and returns once this host is in, or with what went wrong.
pub async fn join(keeper: &Arc<Keeper>, mut asked: Asked, actor: Actor) -> Result<(), Trouble> {
    let task = Arc::clone(keeper);
    let line = asked.token.take().map(Zeroizing::new);
    // To its end, whether or not somebody waits.
    let joining = async move {
        let turn = task.mesh.affairs.joining.try_lock();
        let Ok(_turn) = turn else {
            return Err(Refusal::new(409, "this host is joining or leaving already", "wait until that has ended").into());
        };
        let outcome = join_in_turn(&task, &asked.address, line, actor.clone()).await;
        *task.mesh.affairs.pending() = None;
        if let Err(trouble) = &outcome {
            let event = event(Outcome::Failed, actor, &asked.address, trouble.to_string());
            let change = Change { writes: vec![], events: vec![event] };
            // The keys stay: whoever tries the same token again does so with them.
            let ended = match task.mesh.state() {
                MeshState::Joining => founding::give_up(&task, change).await,
                _ => task.commit(change).await.map(drop).map_err(MeshError::from),
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "that this host could not join could not be recorded");
            }
        }
        outcome
    };
    let stopping = || Trouble::unavailable("the agent is stopping", "start it, then try again");
    keeper.tasks.spawn(joining).await.map_err(|_| stopping())?
}

fn event(outcome: Outcome, actor: Actor, object: &str, reason: String) -> Event {
    let subject = Subject { object: Some(object.to_owned()), ..Subject::default() };
    Event { time: clock::now(), kind: Kind::MeshJoined, outcome, actor, subject, reason: Some(reason) }
}

/// Refuses a token that cannot be for this host before anybody hears of it.
fn check_token(keeper: &Keeper, token: &Token) -> Result<(), Refusal> {
    let host = &keeper.host;
    if token.node != host.node_id {
        return Err(Refusal::new(
            409,
            format!("the token is for {}, this host is {}", token.node, host.node_id),
            format!("on the other host: agentctl mesh invite {}; or set node_id in agent.toml", host.node_id),
        ));
    }
    if token.trust_domain != host.trust_domain {
        return Err(Refusal::new(
            409,
            format!(
                "the token is for the trust domain {}, this host is configured for {}",
                token.trust_domain, host.trust_domain
            ),
            "set trust_domain in agent.toml to the mesh's",
        ));
    }
    let now = clock::now();
    if now >= token.expires_at {
        return Err(Refusal::new(
            409,
            format!("the token ended at {}, and it is {now} by this host's clock", token.expires_at),
            format!("have another made: agentctl mesh invite {}; if the clock is wrong, set it right", token.node),
        ));
    }
    Ok(())
}

async fn join_in_turn(keeper: &Arc<Keeper>, address: &str, line: Option<Zeroizing<String>>, actor: Actor) -> Result<(), Trouble> {
    if keeper.mesh.state().is_in() {
        return Err(MeshError::AlreadyIn.into());
    }
    if !is_host_and_port(address) {
        let shown: String = address.chars().take(100).collect();
        return Err(
            Refusal::new(422, format!("{shown:?} is no address"), "give HOST:PORT; agentctl mesh invite says which").into()
        );
    }
    let token: Option<Token> = match &line {
        Some(line) => Some(line.parse().map_err(unreadable)?),
        None => None,
    };
    match &token {
        Some(token) => check_token(keeper, token)?,
        None => super::kerberos::check_configured(keeper)?,
    }
    make_keys(keeper, token.as_ref()).await?;
    let csr = issuing::certificate_request(keeper).await?;
    let kind = match &token {
        Some(token) => TaskKind::Join { address: address.to_owned(), server_key: token.issuer_key.clone() },
        None => TaskKind::JoinByKerberos { address: address.to_owned() },
    };
    let pending = Pending { token, csr, expected: None, handshake: None };
    *keeper.mesh.affairs.pending() = Some(pending);
    let answer = keeper.mesh.task(kind, DEADLINE).await;
    let advice = "check the address, that the other agent runs, and that nothing stands in between; then try again";
    let answer = answer.map_err(|why| Trouble::unavailable(format!("{address} did not let this host in: {why}"), advice))?;
    let expected = keeper.mesh.affairs.pending().as_mut().and_then(|pending| pending.expected.take());
    let expected =
        expected.ok_or_else(|| Trouble::unavailable("an answer came to a question that was not asked", "restart the agent"))?;
    accept(keeper, &answer, &expected, actor).await
}

fn unreadable(error: reverie_core::mesh::join::token::TokenError) -> Refusal {
    let text = error.to_string();
    let (what, advice) = text.split_once("; ").unwrap_or((&text, "have another made: agentctl mesh invite"));
    Refusal::new(422, what, advice)
}

/// New keys; or, if the same token was tried before, or Kerberos, those it was tried with: they may have been taken, and the
/// answer lost.
async fn make_keys(keeper: &Keeper, token: Option<&Token>) -> Result<(), Trouble> {
    let attempt = Attempt { token_id: token.map(|token| token.id) };
    let before: Option<Attempt> = keeper.state.get(Table::Mesh, ROW)?.map(|row| row::decode(&row)).transpose()?;
    // Keys that one authority registered are known to all, whichever is asked next.
    let again = before.is_some_and(|before| before.token_id == attempt.token_id);
    let write = Write::Put { table: Table::Mesh, key: ROW.to_owned(), value: row::encode(&attempt)? };
    let change = Change { writes: vec![write], events: vec![] };
    match again && keeper.mesh.keys().is_some() {
        true => founding::set_phase(keeper, Phase::Joining, change).await?,
        false => drop(founding::prepare(keeper, change).await?),
    }
    Ok(())
}

/// What net is to post over the connection with that exporter.
pub(super) fn prepare(keeper: &Keeper, task: u64, exporter: [u8; 32]) -> Reply {
    let refused = |message: &str| Reply::Failed { message: message.to_owned() };
    let Some(TaskKind::Join { server_key, .. }) = keeper.mesh.tasks.what(task) else {
        return refused("there is no such task");
    };
    let Some(ring) = keeper.mesh.keys() else { return refused("this host has no keys in a mesh") };
    let mut pending = keeper.mesh.affairs.pending();
    let Some(pending) = pending.as_mut() else { return refused("this host does not want to join") };
    let Some(token) = pending.token.as_ref().filter(|token| token.issuer_key == server_key) else {
        return refused("this host does not want to join there");
    };
    let (signing_key, kem_key) = ring.current.public();
    let node = keeper.host.node_id.clone();
    let mut request = JoinRequest {
        node: node.clone(),
        token_id: token.id,
        signing_key,
        kem_key,
        csr: pending.csr.clone(),
        mac: [0; 32],
        exporter,
    };
    request.mac = authenticate(&token.secret, &request);
    pending.expected = Some(Expected {
        binding: binding(&request),
        node,
        trust_domain: token.trust_domain.clone(),
        mesh: Some(token.mesh),
        issuer: Some((token.issuer.clone(), token.issuer_key.kid(), Some(token.issuer_kem))),
    });
    Reply::Body { body: to_body(&request), node: request.node }
}

/// Checks an answer and goes in. Nothing in it is believed for having come.
async fn accept(keeper: &Arc<Keeper>, bytes: &[u8], expected: &Expected, actor: Actor) -> Result<(), Trouble> {
    let answer = Answer::check(bytes, expected).map_err(|error| {
        let text = error.to_string();
        let (what, advice) = text.split_once("; ").unwrap_or((&text, "try again"));
        Trouble::unavailable(what, advice)
    })?;
    let own = keeper.mesh.keys().ok_or(MeshError::NotIn("none"))?.current.signing.public_key().clone();
    let anchor = Anchor { node: answer.founder.clone(), key: answer.founder_key.clone() };
    let records: Vec<Vec<u8>> = answer.records.iter().map(|record| record.to_vec()).collect();
    let chain = chain_of(&answer)?;
    let roots = check_records(&anchor, &records, &answer, &own)?;
    if !roots.contains(&chain.root) {
        return Err(not_good("the intermediate is under a root that the mesh does not trust"));
    }
    let reason = format!("mesh {}, founded by {}", data_encoding::HEXLOWER.encode(&answer.mesh), answer.founder);
    let event = event(Outcome::Done, actor.clone(), answer.issuer.as_str(), reason);
    let forgotten = Write::Delete { table: Table::Mesh, key: ROW.to_owned() };
    let change = Change { writes: vec![forgotten, wrapping::forget()], events: vec![event] };
    founding::adopt(keeper, anchor, records, answer.more, change).await?;
    take_wrapping_keys(keeper, &answer).await;
    // What fails now is tried again by the renewal, which knows a member without an intermediate.
    issuing::become_member(keeper, &chain, &roots, actor).await?;
    Ok(())
}

fn not_good(what: &str) -> Trouble {
    Trouble::unavailable(format!("the answer is not good: {what}"), "try again; if it stays, look at the host that answered")
}

fn chain_of(answer: &Answer) -> Result<Chain, Trouble> {
    let [intermediate, root] = &answer.chain[..] else { return Err(not_good("it holds no intermediate")) };
    let (intermediate, root) = (intermediate.to_vec(), root.to_vec());
    let fingerprint = issuers::fingerprint(&intermediate);
    Ok(Chain { intermediate, root, fingerprint })
}

/// What the records say, each verified from the founder's key on: we are in with our key, and whoever answered is an
/// authority. Returns the roots that the mesh trusts, DER.
fn check_records(anchor: &Anchor, records: &[Vec<u8>], answer: &Answer, own: &SigningPublicKey) -> Result<Vec<Vec<u8>>, Trouble> {
    let mut set = Set::new(anchor.clone(), Limits::default());
    let merge = set.merge(records, &Aws);
    if let Some((author, why)) = merge.refused.first() {
        let author = author.as_ref().map_or_else(String::new, |author| format!(" of {author}"));
        return Err(not_good(&format!("a record{author} is refused: {why}")));
    }
    let view = View::of(&set, clock::now());
    let holds = |node: &NodeId, key: &SigningPublicKey| {
        view.host(node).filter(|host| host.keys.iter().any(|known| known.signing_key == *key))
    };
    if holds(&answer.node, own).is_none() {
        return Err(not_good("its records do not admit this host with its key"));
    }
    if holds(&answer.issuer, &answer.issuer_key).is_none_or(|host| host.standing != Some(Standing::Authority)) {
        return Err(not_good("whoever answered is no authority of the mesh"));
    }
    let roots: Vec<Vec<u8>> = view.bundle().into_iter().map(|root| root.root.certificate).collect();
    match roots.is_empty() {
        true => Err(not_good("its records hold no root")),
        false => Ok(roots),
    }
}

/// The wrapping key that came with the answer. What does not open is pulled later.
async fn take_wrapping_keys(keeper: &Keeper, answer: &Answer) {
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&answer.binding[..16]);
    let occasion = Occasion { mesh: &answer.mesh, recipient: &answer.node, nonce };
    let Ok(_turn) = keeper.mesh.affairs.wrapping_turn().await else { return };
    let kept = match wrapping::opened(keeper, &answer.wrapping_keys, occasion) {
        Ok(keys) if keys.is_empty() => return,
        Ok(keys) => wrapping::keep(keeper, keys, None).await.map_err(|trouble| trouble.to_string()),
        Err(why) => Err(why),
    };
    if let Err(why) = kept {
        tracing::warn!(why, "the wrapping key that came with the answer is not taken; it is pulled");
    }
}
