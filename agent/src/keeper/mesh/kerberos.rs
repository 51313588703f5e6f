//! Hosts that come by Kerberos: whoever holds a host's HTTP key may register that host's keys, over a connection that the
//! ticket is bound to. On an authority; a member cannot pass it on, since the ticket is bound to the member's connection.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca;
use reverie_core::id::NodeId;
use reverie_core::ipc::gss;
use reverie_core::ipc::net::{Digest, RegisterKem, Reply, TaskKind};
use reverie_core::mesh::collection::{Collection, Eviction, Standing, key};
use reverie_core::mesh::crypto::{KemPublicKey, SigningPublicKey};
use reverie_core::mesh::join::answer::Expected;
use reverie_core::mesh::join::registration::channel_binding;
use reverie_core::mesh::membership::{self, Claim, Refusal, Registration};
use reverie_core::mesh::renewal::{RenewalRequest, Wanted};
use serde::{Deserialize, Serialize};

use super::trouble::Trouble;
use super::writing::{self, Draft};
use super::{MeshError, ending, inviting, renewal};
use crate::keeper::roles::GssChannel;
use crate::keeper::state::Change;
use crate::keeper::{Keeper, clock};

/// For a KDC to answer; libkrb5 itself waits without end.
const DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of the other side's answer.
const MAX_ANSWER: usize = 16 << 10;

/// A handshake that we began, and its process.
pub(super) struct Begun(GssChannel);

/// The body that is posted, as every client of these endpoints writes it.
#[derive(Serialize)]
struct Body {
    node_id: NodeId,
    kem_public_key_der: String,
    gossip_signing_pub_key_der: String,
}

/// What a registration is answered with.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Always.
    registered: bool,
    /// Who answers.
    node_id: NodeId,
    /// SPKI, base64url: to seal the request for membership to.
    kem_public_key: String,
    /// SPKI, base64url: who signs the answer to it.
    gossip_signing_pub_key: String,
    /// `fresh`, `signing-key` or `unchanged`.
    outcome: String,
}

fn keytab(keeper: &Keeper) -> Result<String, Trouble> {
    let advice = "set [gossip] keytab to a keytab with the host's HTTP key, readable by the role gss";
    keeper.policy().config.gossip.keytab.clone().ok_or_else(|| Trouble::unavailable("no keytab is configured here", advice))
}

/// `HTTP/host@REALM`, or without the realm.
fn own_principal(keeper: &Keeper) -> String {
    let configured = keeper.policy().config.gossip.kerberos_principal.clone();
    configured.unwrap_or_else(|| format!("HTTP/{}", keeper.host.node_id))
}

/// Before this host asks.
pub(super) fn check_configured(keeper: &Keeper) -> Result<(), Trouble> {
    keytab(keeper).map(drop).map_err(|_| {
        Refusal::new(
            409,
            "this host was given no token, and has no keytab to join by Kerberos",
            "give the line that agentctl mesh invite printed, or set [gossip] keytab",
        )
        .into()
    })
}

async fn ask(channel: &GssChannel, request: &gss::Request) -> Result<gss::Reply, Trouble> {
    let advice = "systemctl status 'reverie-agent-gss@*' may say why";
    channel.call(request, None, DEADLINE).await.map_err(|error| Trouble::unavailable(error.to_string(), advice))
}

async fn process(keeper: &Keeper) -> Result<GssChannel, Trouble> {
    let advice = "the log of the role gss says why";
    keeper.roles.gss().await.map_err(|error| Trouble::unavailable(error.to_string(), advice))
}

/// `POST /api/gossip/register-kem`.
pub(super) async fn register(keeper: &Arc<Keeper>, request: RegisterKem) -> Reply {
    let (task, node) = (Arc::clone(keeper), request.node.clone());
    match tokio::spawn(async move { judge_and_register(&task, request).await }).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(trouble)) => {
            inviting::refused(keeper, &node, &trouble).await;
            trouble.into_reply()
        }
        Err(_) => Reply::Failed { message: "the agent is stopping".to_owned() },
    }
}

async fn judge_and_register(keeper: &Arc<Keeper>, request: RegisterKem) -> Result<Reply, Trouble> {
    let malformed = |error: reverie_core::mesh::crypto::InvalidKey| Refusal::new(400, error.to_string(), "send it as base64url");
    let signing = SigningPublicKey::from_spki_der(&request.gossip_signing_pub_key_der).map_err(malformed)?;
    let kem = KemPublicKey::from_spki_der(&request.kem_public_key_der).map_err(malformed)?;
    let service = own_principal(keeper).split('@').next().unwrap_or_default().replacen('/', "@", 1);
    let accept = gss::Request::Accept {
        keytab: keytab(keeper)?,
        service: Some(service),
        token: request.token,
        // Over the keys as well: whoever carried them could else put in its own.
        channel_binding: channel_binding(&request.channel_binding, &request.node, &signing, &kem),
    };
    let turn = keeper.mesh.affairs.tokens.turn().await?;
    let answer = ask(&process(keeper).await?, &accept).await?;
    drop(turn);
    let (principal, realm, token) = match answer {
        gss::Reply::Accepted { principal, realm, token } => (principal, realm, token),
        gss::Reply::Refused { message } => {
            tracing::info!(why = message, "a Kerberos token is refused");
            let advice = "ask for a ticket to this host's HTTP service, bound to this TLS connection";
            return Err(Refusal::new(401, "the Kerberos token is not accepted", advice).into());
        }
        gss::Reply::Unavailable { message } => {
            return Err(Trouble::unavailable(message, "try again, or join by token"));
        }
        gss::Reply::Token(_) | gss::Reply::Proven => {
            return Err(Trouble::unavailable("the role gss answered another question", "restart the agent"));
        }
    };
    let claim = Claim { principal: &principal, node: &request.node, signing: &signing, kem: &kem };
    let outcome = take(keeper, claim, &realm).await?;
    let ring = keeper.mesh.keys().ok_or(MeshError::NotIn("none"))?;
    let (own_signing, own_kem) = ring.speaking.public();
    let answer = Answer {
        registered: true,
        node_id: keeper.host.node_id.clone(),
        kem_public_key: BASE64URL_NOPAD.encode(&own_kem.to_spki_der()),
        gossip_signing_pub_key: BASE64URL_NOPAD.encode(&own_signing.to_spki_der()),
        outcome: match outcome {
            Registration::Fresh => "fresh",
            Registration::SigningKeyOnly => "signing-key",
            Registration::Nothing => "unchanged",
        }
        .to_owned(),
    };
    Ok(Reply::Registered { token, body: serde_json::to_vec(&answer).unwrap_or_default() })
}

/// Judges who asks and takes its keys, one after the other. `realm`: the keytab's.
async fn take(keeper: &Arc<Keeper>, claim: Claim<'_>, realm: &str) -> Result<Registration, Trouble> {
    let (us, node) = (&keeper.host.node_id, claim.node);
    let policy = keeper.policy();
    let gossip = &policy.config.gossip;
    let allowed = keeper.mesh.admission(gossip).admits(node);
    membership::principal(claim, gossip.kerberos_realm.as_deref().unwrap_or(realm))?;
    let _turn = keeper.mesh.affairs.membership_turn().await?;
    let judged = keeper.mesh.look(|view| {
        if let Err(refusal) = membership::lead(view, us, "register a host") {
            return Err(Refusal::new(503, refusal.message, refusal.advice));
        }
        membership::register(view, claim, allowed)
    });
    let registration = judged.ok_or(MeshError::NotIn(keeper.mesh.state().as_str()))??;
    if registration == Registration::Nothing {
        return Ok(registration);
    }
    let now = clock::now();
    let invitation = match gossip.kerberos_needs_confirmation {
        false => None,
        true => Some(inviting::open_for(&keeper.state, node, now)?.ok_or_else(|| {
            Refusal::new(
                403,
                format!("{node} proved who it is, but hosts that come by Kerberos need an administrator's word here"),
                format!("agentctl mesh invite {node} on this host gives it (the token need not be used), then try again"),
            )
        })?),
    };
    let limits = invitation.as_ref().map_or_else(|| ca::default_limits(node), |invitation| invitation.limits.clone());
    let mut drafts = vec![];
    if registration == Registration::SigningKeyOnly {
        drafts.extend(replaced(keeper, node)?);
    }
    drafts.extend(inviting::admission(
        node,
        claim.signing,
        claim.kem,
        Standing::Member,
        "kerberos",
        inviting::despite(keeper, node),
        None,
    )?);
    if registration == Registration::Fresh {
        drafts.push(Draft::put(Collection::IssuingLimits, node.as_str(), &limits)?);
    }
    let writes = inviting::take_back(&keeper.state, node)?;
    let subject = Subject { object: Some(node.to_string()), ..Subject::default() };
    let reason = Some(format!("by Kerberos as {}, with the key {}", claim.principal, claim.signing.kid()));
    let (kind, outcome, actor) = (Kind::HostAdmitted, Outcome::Done, Actor::Agent);
    let event = Event { time: now, kind, outcome, actor, subject, reason };
    writing::write(keeper, drafts, Change { writes, events: vec![event] }).await?;
    Ok(registration)
}

/// The keys before end; the one admitted next, by us and later, does not.
fn replaced(keeper: &Keeper, node: &NodeId) -> Result<Vec<Draft>, Trouble> {
    let lasting = keeper.mesh.look(|view| view.lasting_of(node)).unwrap_or_default();
    let (upheld, mut drafts) = ending::upheld(&lasting)?;
    let reason = "its signing key was replaced by Kerberos".to_owned();
    let heard = keeper.mesh.vector().get(node);
    let eviction = Eviction { node: node.clone(), keys: vec![], reason, left: false, upheld, heard };
    drafts.push(Draft::put(Collection::Evictions, key::eviction(node, &keeper.host.node_id), &eviction)?);
    Ok(drafts)
}

/// For the task of joining: a ticket bound to the channel, and the body.
pub(super) async fn prepare(keeper: &Keeper, task: u64, certificate: Digest) -> Reply {
    match begin(keeper, task, &certificate).await {
        Ok(reply) => reply,
        Err(trouble) => trouble.into_reply(),
    }
}

/// The host that the task names; only it is proven by Kerberos.
fn wanted_host(keeper: &Keeper, task: u64) -> Result<NodeId, Trouble> {
    let what = keeper.mesh.tasks.what(task);
    let Some(TaskKind::JoinByKerberos { address }) = what else {
        return Err(Trouble::unavailable("there is no such task", "join again"));
    };
    let host = address.rsplit_once(':').map_or("", |(host, _)| host).to_ascii_lowercase();
    host.parse().map_err(|_| {
        let advice = "give the authority's own name: Kerberos proves names, not addresses";
        Refusal::new(422, format!("{host:?} is not the name of a host"), advice).into()
    })
}

async fn begin(keeper: &Keeper, task: u64, certificate: &Digest) -> Result<Reply, Trouble> {
    let host = wanted_host(keeper, task)?;
    let ring = keeper.mesh.keys().ok_or(MeshError::NotIn("none"))?;
    let (signing, kem) = ring.current.public();
    let channel = process(keeper).await?;
    let initiate = gss::Request::Initiate {
        keytab: keytab(keeper)?,
        principal: own_principal(keeper),
        target: format!("HTTP@{host}"),
        channel_binding: channel_binding(certificate, &keeper.host.node_id, &signing, &kem),
    };
    let token = match ask(&channel, &initiate).await? {
        gss::Reply::Token(token) => token,
        gss::Reply::Refused { message } | gss::Reply::Unavailable { message } => {
            return Err(Trouble::unavailable(message, "kinit -k with the same keytab says more; or join by token"));
        }
        gss::Reply::Accepted { .. } | gss::Reply::Proven => {
            return Err(Trouble::unavailable("the role gss answered another question", "restart the agent"));
        }
    };
    let body = Body {
        node_id: keeper.host.node_id.clone(),
        kem_public_key_der: BASE64URL_NOPAD.encode(&kem.to_spki_der()),
        gossip_signing_pub_key_der: BASE64URL_NOPAD.encode(&signing.to_spki_der()),
    };
    let mut pending = keeper.mesh.affairs.pending();
    let pending = pending.as_mut().filter(|pending| pending.token.is_none());
    let pending = pending.ok_or_else(|| Trouble::unavailable("this host does not want to join", "join again"))?;
    pending.handshake = Some(Begun(channel));
    Ok(Reply::Kerberos {
        node: body.node_id.clone(),
        kid: signing.kid(),
        token,
        body: serde_json::to_vec(&body).unwrap_or_default(),
    })
}

/// The other side proved who it is, and took our keys: now ask it for everything a member gets.
pub(super) async fn finish(keeper: &Keeper, task: u64, token: Vec<u8>, answer: &[u8]) -> Reply {
    match proven(keeper, task, token, answer).await {
        Ok(reply) => reply,
        Err(trouble) => trouble.into_reply(),
    }
}

async fn proven(keeper: &Keeper, task: u64, token: Vec<u8>, answer: &[u8]) -> Result<Reply, Trouble> {
    let host = wanted_host(keeper, task)?;
    let gone = || Trouble::unavailable("this host does not want to join", "join again");
    let (begun, csr) = {
        let mut pending = keeper.mesh.affairs.pending();
        let pending = pending.as_mut().ok_or_else(gone)?;
        (pending.handshake.take().ok_or_else(gone)?, pending.csr.clone())
    };
    match ask(&begun.0, &gss::Request::Finish { token }).await? {
        gss::Reply::Proven => {}
        gss::Reply::Refused { message } | gss::Reply::Unavailable { message } => {
            return Err(Trouble::unavailable(message, "someone may stand in between; join by token"));
        }
        gss::Reply::Accepted { .. } | gss::Reply::Token(_) => {
            return Err(Trouble::unavailable("the role gss answered another question", "restart the agent"));
        }
    }
    let unreadable =
        || Trouble::unavailable("the answer to the registration cannot be read", "use the same version on both hosts");
    if answer.len() > MAX_ANSWER {
        return Err(unreadable());
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| unreadable())?;
    let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| unreadable());
    let kem = KemPublicKey::from_spki_der(&bytes(&answer.kem_public_key)?).map_err(|_| unreadable())?;
    let signing = SigningPublicKey::from_spki_der(&bytes(&answer.gossip_signing_pub_key)?).map_err(|_| unreadable())?;
    if answer.node_id != host {
        let message = format!("{host} proved who it is, and calls itself {}", answer.node_id);
        return Err(Trouble::unavailable(message, format!("join at {}", answer.node_id)));
    }
    let payload = renewal::request(keeper, &host, None, Wanted::Membership, csr)?;
    let expected = Expected {
        binding: RenewalRequest::binding(&payload),
        node: keeper.host.node_id.clone(),
        trust_domain: keeper.host.trust_domain.clone(),
        mesh: None,
        issuer: Some((host, signing.kid(), Some(kem.kid()))),
    };
    if let Some(pending) = keeper.mesh.affairs.pending().as_mut() {
        pending.expected = Some(expected);
    }
    Ok(Reply::Sealable { recipient: kem, payload })
}
