//! Envoy's secret discovery service: which name stands for what is said by [`found`], what is due to whom by the core.

mod found;
mod protocol;
mod stream;

use std::sync::Arc;

use protocol::Protocol;
use reverie_core::api::{Code, Problem};
use reverie_core::sds::{Delta, World, WorldRequest};
use reverie_proto::sds::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, SecretDiscoveryService,
};
use tonic::{Request, Response, Status, Streaming};

use super::failure::refuse;
use super::feed::Messages;
use super::room::Room;
use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;

/// The service for one process.
pub(super) struct Secrets {
    keeper: Arc<Keeper>,
    peer: Arc<Peer>,
    room: Arc<Room>,
}

impl Secrets {
    pub(super) fn new(keeper: Arc<Keeper>, peer: Arc<Peer>, room: Arc<Room>) -> Self {
        Self { keeper, peer, room }
    }

    async fn fetch(&self, request: DiscoveryRequest) -> Result<DiscoveryResponse, Failure> {
        protocol::check_type(&request.type_url)?;
        let mut world = World::default();
        world.take(WorldRequest { names: request.resource_names, ..WorldRequest::default() }).map_err(protocol::excess)?;
        self.room.reserve().await?;
        match stream::due(&self.keeper, &self.peer, &mut world, &mut found::Denied::default()).await? {
            Some(response) => Ok(response),
            None => Err(Problem::new(Code::NotPermitted, "none of these names stands for anything that this process has")
                .advise("`default`, `ROOTCA`, `ALL`, the SPIFFE ID of an identity of it, or that of a trust domain")
                .into()),
        }
    }

    fn followed<P: Protocol>(
        &self,
        call: &'static str,
        protocol: P,
        requests: Request<Streaming<P::Request>>,
    ) -> Response<Messages<P::Response>> {
        let Self { keeper, peer, room } = self;
        Response::new(stream::follow(keeper, peer, room, call, protocol, requests.into_inner()))
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Secrets {
    type DeltaSecretsStream = Messages<DeltaDiscoveryResponse>;
    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Ok(self.followed("DeltaSecrets", Delta::default(), request))
    }

    type StreamSecretsStream = Messages<DiscoveryResponse>;
    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        Ok(self.followed("StreamSecrets", World::default(), request))
    }

    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        match self.fetch(request.into_inner()).await {
            Ok(response) => Ok(Response::new(response)),
            Err(failure) => Err(refuse(&self.keeper, &self.peer, "FetchSecrets", failure).await),
        }
    }
}
