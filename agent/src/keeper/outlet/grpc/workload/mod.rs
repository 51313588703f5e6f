//! The SPIFFE Workload API (SPIFFE_Workload_API.md): [`x509`], [`tokens`] and [`wit`] are its three profiles,
//! [`keys`] what the tokens of the latter two are verified with.

pub(super) mod keys;
mod tokens;
mod wit;
mod x509;

use std::sync::Arc;

use reverie_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, SpiffeWorkloadApi, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest, WitsvidResponse, X509BundlesRequest,
    X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use tonic::{Request, Response, Status};

use super::failure::refuse;
use super::feed::{Messages, State, follow};
use super::room::Room;
use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;

/// The API for one process.
pub(super) struct Workload {
    keeper: Arc<Keeper>,
    peer: Arc<Peer>,
    room: Arc<Room>,
}

impl Workload {
    pub(super) fn new(keeper: Arc<Keeper>, peer: Arc<Peer>, room: Arc<Room>) -> Self {
        Self { keeper, peer, room }
    }

    /// What a call that is answered once comes to.
    async fn answered<M>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<M, Failure>>,
    ) -> Result<Response<M>, Status> {
        let answer = async {
            self.room.reserve().await?;
            answer.await
        };
        match answer.await {
            Ok(message) => Ok(Response::new(message)),
            Err(failure) => Err(refuse(&self.keeper, &self.peer, call, failure).await),
        }
    }

    /// A stream of that state.
    fn streamed<S: State>(&self, call: &'static str, state: S) -> Streamed<S::Message> {
        Ok(Response::new(follow(&self.keeper, &self.peer, &self.room, call, state)))
    }
}

type Streamed<M> = Result<Response<Messages<M>>, Status>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Workload {
    type FetchX509SVIDStream = Messages<X509svidResponse>;
    async fn fetch_x509svid(&self, _: Request<X509svidRequest>) -> Streamed<X509svidResponse> {
        self.streamed("FetchX509SVID", x509::Svids::default())
    }

    type FetchX509BundlesStream = Messages<X509BundlesResponse>;
    async fn fetch_x509_bundles(&self, _: Request<X509BundlesRequest>) -> Streamed<X509BundlesResponse> {
        self.streamed("FetchX509Bundles", x509::Bundles::default())
    }

    async fn fetch_jwtsvid(&self, request: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        self.answered("FetchJWTSVID", tokens::fetch(&self.keeper, &self.peer, request.into_inner())).await
    }

    type FetchJWTBundlesStream = Messages<JwtBundlesResponse>;
    async fn fetch_jwt_bundles(&self, _: Request<JwtBundlesRequest>) -> Streamed<JwtBundlesResponse> {
        self.streamed("FetchJWTBundles", keys::Bundles::default())
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        self.answered("ValidateJWTSVID", tokens::validate(&self.keeper, &self.peer, request.into_inner())).await
    }

    type FetchWITSVIDStream = Messages<WitsvidResponse>;
    async fn fetch_witsvid(&self, _: Request<WitsvidRequest>) -> Streamed<WitsvidResponse> {
        self.streamed("FetchWITSVID", wit::Svids::default())
    }

    type FetchWITBundlesStream = Messages<WitBundlesResponse>;
    async fn fetch_wit_bundles(&self, _: Request<WitBundlesRequest>) -> Streamed<WitBundlesResponse> {
        self.streamed("FetchWITBundles", keys::Bundles::default())
    }
}
