//! Problems as gRPC says them.

use reverie_core::api::{Code, Problem, Surface};
use tonic::Status;

use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::denials;
use crate::keeper::local::peer::Peer;

/// A refusal, in the audit log if it is one, and as the caller sees it.
pub(super) async fn refuse(keeper: &Keeper, peer: &Peer, call: &str, Failure(problem): Failure) -> Status {
    if denials::is_denial(Surface::Local, problem.code) {
        denials::record(keeper, &peer.caller, call.to_owned(), &problem).await;
    }
    metrics::counter!("reverie_calls_refused_total", "call" => call.to_owned()).increment(1);
    status(&problem)
}

/// As gRPC says it.
pub(super) fn status(problem: &Problem) -> Status {
    let message = match &problem.advice {
        Some(advice) => format!("{}; try: {advice}", problem.detail),
        None => problem.detail.clone(),
    };
    let code = match problem.code {
        Code::NotPermitted | Code::BadToken | Code::CallerGone => tonic::Code::PermissionDenied,
        Code::Malformed | Code::BadRequest => tonic::Code::InvalidArgument,
        Code::TooLarge | Code::TooMany => tonic::Code::ResourceExhausted,
        Code::NotFound => tonic::Code::NotFound,
        Code::MethodNotAllowed => tonic::Code::Unimplemented,
        Code::Conflict => tonic::Code::FailedPrecondition,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::Internal => tonic::Code::Internal,
    };
    Status::new(code, message)
}
