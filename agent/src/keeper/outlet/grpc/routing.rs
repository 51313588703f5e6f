//! From a call to the service that answers it, within what its user may have.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use reverie_proto::DESCRIPTORS;
use reverie_proto::sds::SecretDiscoveryServiceServer;
use reverie_proto::workload::SpiffeWorkloadApiServer;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use super::room::Room;
use super::sds::Secrets;
use super::workload::Workload;
use crate::keeper::Keeper;
use crate::keeper::local::peer::Peer;
use crate::ops::shares::Share;

/// Calls that are open at once, all callers together, and those of one uid.
const CALLS: u32 = 8192;
const CALLS_PER_UID: u32 = 1024;
/// The same of reflection: whoever has no identity takes no place from those who have.
const REFLECTIONS: u32 = 256;
const REFLECTIONS_PER_UID: u32 = 16;
/// By then a client has asked all that it wants to know of the services.
const REFLECTION_ENDS: Duration = Duration::from_secs(15);
/// Until an answer begins: the request has come, and the first message was judged and recorded.
const DEADLINE: Duration = Duration::from_secs(60);
/// The largest request of the Workload API, in bytes: a token to be validated.
const MAX_REQUEST: usize = 64 * 1024;
/// The largest request of Envoy, in bytes: it says all that it is able to in its first (some 61 KB).
const MAX_DISCOVERY: usize = 256 * 1024;
/// The largest question of reflection, in bytes: a name.
const MAX_REFLECTION: usize = 4 * 1024;
/// Without it nothing is answered (SPIFFE Workload Endpoint, 6.1): a program that is made to connect here by another, and cannot
/// set it, gets nothing.
const SECURITY_HEADER: &str = "workload.spiffe.io";

/// One call, answered.
pub(super) struct Answered {
    pub(super) response: Response<Body>,
    /// Counted of it until it is over.
    pub(super) call: Option<Share<u32>>,
    /// When it is over at the latest.
    pub(super) until: Option<Instant>,
}

/// Answers one call.
pub(super) async fn answer(keeper: &Arc<Keeper>, peer: &Arc<Peer>, room: &Arc<Room>, request: Request<Incoming>) -> Answered {
    let refused = |why| Answered { response: Status::resource_exhausted(why).into_http(), call: None, until: None };
    let uid = peer.caller.uid;
    if !keeper.rates.admit(uid, &keeper.policy().config.limits) {
        return refused("this user makes too many calls; try: wait a second");
    }
    let path = request.uri().path().to_owned();
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let is_reflection = service.starts_with("grpc.reflection.");
    let call = match is_reflection {
        true => keeper.grpc.reflections.take(uid, 1, REFLECTIONS, REFLECTIONS_PER_UID),
        false => keeper.grpc.calls.take(uid, 1, CALLS, CALLS_PER_UID),
    };
    let Some(call) = call else {
        metrics::counter!("reverie_connections_shed_total").increment(1);
        return refused("this user has too many calls open; try: close some");
    };
    let answered = tokio::time::timeout(DEADLINE, dispatch(keeper, peer, room, service, request)).await;
    let response = answered.unwrap_or_else(|_| Status::deadline_exceeded("the call took longer than a minute").into_http());
    Answered { response, call: Some(call), until: is_reflection.then(|| Instant::now() + REFLECTION_ENDS) }
}

async fn dispatch(
    keeper: &Arc<Keeper>,
    peer: &Arc<Peer>,
    room: &Arc<Room>,
    service: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    match service {
        "SpiffeWorkloadAPI" => {
            if request.headers().get(SECURITY_HEADER).is_none_or(|value| value != "true") {
                let said =
                    format!("the call lacks the metadata \"{SECURITY_HEADER}: true\"; try: a SPIFFE library, which sets it");
                return Status::invalid_argument(said).into_http();
            }
            let workload = Workload::new(Arc::clone(keeper), Arc::clone(peer), Arc::clone(room));
            run(SpiffeWorkloadApiServer::new(workload).max_decoding_message_size(MAX_REQUEST), request).await
        }
        "envoy.service.secret.v3.SecretDiscoveryService" => {
            let secrets = Secrets::new(Arc::clone(keeper), Arc::clone(peer), Arc::clone(room));
            run(SecretDiscoveryServiceServer::new(secrets).max_decoding_message_size(MAX_DISCOVERY), request).await
        }
        "grpc.reflection.v1.ServerReflection" => match reflection().build_v1() {
            Ok(server) => run(server.max_decoding_message_size(MAX_REFLECTION), request).await,
            Err(error) => Status::internal(error.to_string()).into_http(),
        },
        "grpc.reflection.v1alpha.ServerReflection" => match reflection().build_v1alpha() {
            Ok(server) => run(server.max_decoding_message_size(MAX_REFLECTION), request).await,
            Err(error) => Status::internal(error.to_string()).into_http(),
        },
        _ => Status::unimplemented("there is no such service here; try: gRPC reflection, which lists them").into_http(),
    }
}

/// Made when it is asked for: nothing of it is kept.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS)
}

async fn run<S>(mut service: S, request: Request<Incoming>) -> Response<Body>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = std::convert::Infallible>,
{
    match service.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
