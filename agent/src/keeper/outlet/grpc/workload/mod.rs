//! The SPIFFE Workload API (SPIFFE_Workload_API.md): [`x509`], [`tokens`] and [`wit`] are its three profiles.

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
use super::feed::{Messages, follow};
use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;

/// The API for one process.
pub(super) struct Workload {
    keeper: Arc<Keeper>,
    peer: Arc<Peer>,
}

impl Workload {
    pub(super) fn new(keeper: Arc<Keeper>, peer: Arc<Peer>) -> Self {
        Self { keeper, peer }
    }

    /// What a call that is answered once came to.
    async fn answered<M>(&self, call: &'static str, answer: Result<M, Failure>) -> Result<Response<M>, Status> {
        match answer {
            Ok(message) => Ok(Response::new(message)),
            Err(failure) => Err(refuse(&self.keeper, &self.peer, call, failure).await),
        }
    }
}

type Streamed<M> = Result<Response<Messages<M>>, Status>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Workload {
    type FetchX509SVIDStream = Messages<X509svidResponse>;
    async fn fetch_x509svid(&self, _: Request<X509svidRequest>) -> Streamed<X509svidResponse> {
        Ok(follow(&self.keeper, &self.peer, "FetchX509SVID", x509::Svids::default()))
    }

    type FetchX509BundlesStream = Messages<X509BundlesResponse>;
    async fn fetch_x509_bundles(&self, _: Request<X509BundlesRequest>) -> Streamed<X509BundlesResponse> {
        Ok(follow(&self.keeper, &self.peer, "FetchX509Bundles", x509::Bundles::default()))
    }

    async fn fetch_jwtsvid(&self, request: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        self.answered("FetchJWTSVID", tokens::fetch(&self.keeper, &self.peer, request.into_inner()).await).await
    }

    type FetchJWTBundlesStream = Messages<JwtBundlesResponse>;
    async fn fetch_jwt_bundles(&self, _: Request<JwtBundlesRequest>) -> Streamed<JwtBundlesResponse> {
        Ok(follow(&self.keeper, &self.peer, "FetchJWTBundles", tokens::Bundles::default()))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let validated = tokens::validate(&self.keeper, &self.peer, request.into_inner()).await;
        self.answered("ValidateJWTSVID", validated).await
    }

    type FetchWITSVIDStream = Messages<WitsvidResponse>;
    async fn fetch_witsvid(&self, _: Request<WitsvidRequest>) -> Streamed<WitsvidResponse> {
        Ok(follow(&self.keeper, &self.peer, "FetchWITSVID", wit::Svids::default()))
    }

    type FetchWITBundlesStream = Messages<WitBundlesResponse>;
    async fn fetch_wit_bundles(&self, _: Request<WitBundlesRequest>) -> Streamed<WitBundlesResponse> {
        Ok(follow(&self.keeper, &self.peer, "FetchWITBundles", wit::Bundles::default()))
    }
}
