//! One request: routed by the list of operations, its caller checked, its handler run, its refusal recorded.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use hyper::{Method as HttpMethod, Request};
use reverie_core::api::{Code, Method, Operation, Problem, Surface};
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::capability::Grant;
use zeroize::Zeroizing;

use super::answer::{Answer, Failure, parse_json};
use super::body::{Body, Unread};
use super::peer::Peer;
use super::{certificates, denials, identities, secrets, trust, watch};
use crate::keeper::{Keeper, admin, clock, mesh, tokens};

/// A handler that takes longer is given up. Rotation waits for services; nothing else comes near.
const DEADLINE: Duration = Duration::from_secs(120);

/// All header names and values together, in bytes. The largest token fits.
const MAX_HEADERS: usize = 16 * 1024;

/// What a handler gets.
pub struct Call<'a> {
    /// The agent.
    pub keeper: &'a Arc<Keeper>,
    /// Who asks.
    pub peer: &'a Arc<Peer>,
    /// For what.
    pub operation: Operation,
    /// The `{name}`, `{node}` or `{id}` in the path.
    pub name: String,
    /// The query, as it came.
    pub query: String,
    /// The body, which is read once the caller may do what it asks for.
    body: Unread,
    /// A capability token, if one was sent.
    pub token: Option<Zeroizing<String>>,
}

/// Routes by path, for each surface.
static ROUTES: LazyLock<[matchit::Router<Vec<Operation>>; 2]> =
    LazyLock::new(|| [routes(Surface::Local), routes(Surface::Admin)]);

fn routes(surface: Surface) -> matchit::Router<Vec<Operation>> {
    let mut router = matchit::Router::new();
    let on_surface = || Operation::ALL.iter().copied().filter(|operation| operation.surface() == surface);
    let mut paths: Vec<&str> = on_surface().map(Operation::path).collect();
    paths.dedup();
    for path in paths {
        let operations = on_surface().filter(|operation| operation.path() == path).collect();
        // A path that cannot be routed answers 404; a test walks all of them.
        let _ = router.insert(path, operations);
    }
    router
}

fn operation_for(surface: Surface, method: &HttpMethod, path: &str) -> Result<(Operation, String), Failure> {
    let [local, admin] = &*ROUTES;
    let router = match surface {
        Surface::Local => local,
        Surface::Admin => admin,
    };
    let nothing = || {
        Problem::new(Code::NotFound, format!("there is nothing at {:?}", path.chars().take(200).collect::<String>()))
            .advise("GET /v1/openapi.json on agent.sock lists every path")
    };
    let found = router.at(path).map_err(|_| nothing())?;
    let same = |known: Method| known.as_str() == method.as_str();
    let Some(&operation) = found.value.iter().find(|operation| same(operation.method())) else {
        let allowed: Vec<&str> = found.value.iter().map(|operation| operation.method().as_str()).collect();
        return Err(Problem::new(Code::MethodNotAllowed, format!("{path} takes {}, not {method}", allowed.join(", "))).into());
    };
    // No path has more than one.
    let name = found.params.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default();
    Ok((operation, name))
}

/// Handles one request; records its refusal.
pub async fn handle(keeper: &Arc<Keeper>, peer: &Arc<Peer>, surface: Surface, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let answer = admit_and_answer(keeper, peer, surface, &head, body).await;
    if let Err(Failure(problem)) = &answer
        && denials::is_denial(surface, problem.code)
    {
        let object: String = format!("{} {}", head.method, head.uri.path()).chars().take(200).collect();
        denials::record(keeper, &peer.caller, object, problem).await;
    }
    answer
}

async fn admit_and_answer(keeper: &Arc<Keeper>, peer: &Arc<Peer>, surface: Surface, head: &Parts, body: Incoming) -> Answer {
    peer.check_alive()?;
    let limits = &keeper.policy().config.limits;
    if surface == Surface::Local && !keeper.rates.admit(peer.caller.uid, limits) {
        return Err(Problem::new(Code::TooMany, "this user makes too many requests")
            .advise("wait a second; [limits] requests_per_second sets the rate")
            .into());
    }
    if head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() > MAX_HEADERS {
        return Err(Problem::new(Code::TooLarge, format!("the request's headers are larger than {MAX_HEADERS} bytes")).into());
    }
    let (operation, name) = operation_for(surface, &head.method, head.uri.path())?;
    let token = token_of(&head.headers)?;
    let body = Unread::new(body, operation.max_body(limits.body_bytes as usize))?;
    let query = head.uri.query().unwrap_or_default().to_owned();
    let call = Call { keeper, peer, operation, name, query, body, token };
    metrics::counter!("reverie_requests_total", "operation" => operation.id()).increment(1);
    match tokio::time::timeout(DEADLINE, dispatch(&call)).await {
        Ok(answer) => answer,
        Err(_) => Err(Problem::new(Code::Unavailable, "the request took longer than two minutes").into()),
    }
}

fn token_of(headers: &hyper::HeaderMap) -> Result<Option<Zeroizing<String>>, Failure> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| text.strip_prefix("Biscuit "));
    match token {
        Some(token) => Ok(Some(Zeroizing::new(token.trim().to_owned()))),
        None => Err(Problem::new(Code::BadToken, "the Authorization header is not \"Biscuit TOKEN\"").into()),
    }
}

/// Every operation has its handler: the compiler sees to it.
async fn dispatch(call: &Call<'_>) -> Answer {
    if call.operation.surface() == Surface::Admin {
        admin::require_admin(call)?;
    }
    match call.operation {
        Operation::Whoami => identities::whoami(call).await,
        Operation::ListIdentities => identities::list(call).await,
        Operation::ShowIdentity => identities::show(call).await,
        Operation::IssueCertificate => certificates::issue(call).await,
        Operation::ReadCertificate => certificates::read(call).await,
        Operation::RotateOwn => certificates::rotate(call).await,
        Operation::RevokeOwn => certificates::revoke(call).await,
        Operation::Bundle => trust::bundle(call),
        Operation::Crl => trust::crls(call),
        Operation::ListSecrets => secrets::list(call).await,
        Operation::ReadSecret => secrets::read(call).await,
        Operation::Watch => watch::watch(call).await,
        Operation::OpenApi => trust::openapi(),
        Operation::Status => admin::status::status(call),
        Operation::AllIdentities => admin::status::identities(call),
        Operation::Explain => admin::explain::explain(call).await,
        Operation::Certificates => admin::certificates::list(call).await,
        Operation::Rotate => admin::certificates::rotate(call).await,
        Operation::Revoke => admin::certificates::revoke(call).await,
        Operation::RotateIssuer => admin::certificates::rotate_issuer(call).await,
        Operation::ListAllSecrets => admin::secrets::list(call),
        Operation::SealSecret => admin::secrets::seal(call).await,
        Operation::RevealSecret => admin::secrets::reveal(call).await,
        Operation::RemoveSecret => admin::secrets::remove(call).await,
        Operation::MintToken => tokens::mint(call).await,
        Operation::RevokeToken => tokens::revoke(call).await,
        Operation::TokenKey => tokens::key(call),
        Operation::AuditLines => admin::audit::lines(call).await,
        Operation::AuditVerify => admin::audit::verify(call).await,
        Operation::Mesh => admin::mesh::show(call),
        Operation::ResumeMesh => admin::mesh::resume(call).await,
        Operation::PutClient => mesh::clients::put(call).await,
        Operation::RemoveClient => mesh::clients::remove(call).await,
        Operation::InitMesh => admin::membership::init(call).await,
        Operation::Invite => admin::membership::invite(call).await,
        Operation::JoinMesh => admin::membership::join(call).await,
        Operation::Promote => admin::membership::promote(call).await,
        Operation::Evict => admin::membership::evict(call).await,
        Operation::Readmit => admin::membership::readmit(call).await,
        Operation::LeaveMesh => admin::membership::leave(call).await,
        Operation::RotateMesh => admin::membership::rotate(call).await,
        Operation::SetIssuingLimits => admin::membership::set_limits(call).await,
        Operation::Tunnels => admin::status::tunnels(call),
        Operation::Health => admin::status::health(call),
        Operation::Ready => admin::status::ready(call),
        Operation::Metrics => admin::status::metrics(call),
    }
}

impl Call<'_> {
    /// The caller as an actor.
    pub fn actor(&self) -> Actor {
        Actor::from(&self.peer.caller)
    }

    /// An event of this call, at this moment.
    pub fn event(&self, kind: Kind, outcome: Outcome, subject: Subject) -> Event {
        Event { time: clock::now(), kind, outcome, actor: self.actor(), subject, reason: None }
    }

    /// Reads the body. Only after it is known that the caller may do this: strangers' bytes are not even fetched.
    pub async fn body(&self) -> Result<Body, Failure> {
        let bodies = match self.operation.surface() {
            Surface::Local => &self.keeper.bodies.local,
            Surface::Admin => &self.keeper.bodies.admin,
        };
        self.body.read(bodies, self.peer.caller.uid).await
    }

    /// Reads the body as JSON.
    pub async fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        parse_json(&self.body().await?)
    }

    /// The one value of a query parameter.
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// What the caller's token, if any, grants: `Some(actor)` with the token named if it allows the operation.
    pub fn granted(&self, grant: &Grant) -> Result<Option<Actor>, Failure> {
        match &self.token {
            None => Ok(None),
            Some(token) => tokens::authorize(self, token, grant).map(Some),
        }
    }

    /// The identity in the path, for a caller who has it by rule.
    pub async fn own_identity(&self) -> Result<reverie_core::config::Identity, Failure> {
        let policy = self.keeper.policy();
        let refused = || {
            Problem::new(Code::NotPermitted, format!("this process has no identity {:?}", self.shown_name()))
                .advise("GET /v1/whoami shows what it has; an administrator's `agentctl explain --pid PID` shows why")
        };
        let name = self.name.parse().map_err(|_| refused())?;
        let rule = policy.judge.judge_for(&self.peer.caller, &name).map_err(|_| refused())?;
        if rule.rests_on_executable() {
            self.peer.check_executable(self.keeper).await?;
        }
        policy.identities.get(&name).map(|identity| identity.declared.clone()).ok_or_else(|| refused().into())
    }

    /// The name in the path, safe to show.
    pub fn shown_name(&self) -> String {
        self.name.chars().take(128).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_reached_by_its_method_and_path_on_its_surface_only() {
        for &operation in Operation::ALL {
            let path = operation.path().replace("{name}", "x");
            let method: HttpMethod = operation.method().as_str().parse().unwrap();
            let (found, _) = operation_for(operation.surface(), &method, &path).unwrap();
            assert_eq!(found, operation);
            let other = match operation.surface() {
                Surface::Local => Surface::Admin,
                Surface::Admin => Surface::Local,
            };
            assert!(operation_for(other, &method, &path).is_err(), "{path} is served on both");
        }
    }

    #[test]
    fn a_wrong_method_says_which_are_right() {
        let Failure(problem) = operation_for(Surface::Local, &HttpMethod::DELETE, "/v1/whoami").unwrap_err();
        assert_eq!((problem.status, problem.detail.as_str()), (405, "/v1/whoami takes GET, not DELETE"));
    }
}
