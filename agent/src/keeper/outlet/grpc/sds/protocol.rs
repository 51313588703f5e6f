//! The two variants of the protocol, between Envoy's messages and the core.

use std::collections::BTreeMap;

use reverie_core::api::{Code, Problem};
use reverie_core::sds::{Delta, DeltaRequest, Difference, Excess, Taken, World, WorldRequest};
use reverie_proto::sds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource};
use sha2::{Digest, Sha256};

use super::found::{Found, SECRET};
use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;

/// A variant, for one stream.
pub(super) trait Protocol: Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;

    /// Takes what the client says.
    fn take(&mut self, request: Self::Request) -> Result<Taken, Failure>;

    /// What is wanted now.
    fn names(&self) -> Vec<String>;

    /// The names that are to be sent of what there is; `None` if there is nothing to say.
    fn due(&self, found: &BTreeMap<String, Found>) -> Option<Difference>;

    /// Says it, and keeps in mind that it was said.
    fn respond(&mut self, keeper: &Keeper, found: &BTreeMap<String, Found>, due: &Difference, nonce: String) -> Self::Response;
}

/// Only secrets are served here.
pub(super) fn check_type(type_url: &str) -> Result<(), Failure> {
    if type_url.is_empty() || type_url == SECRET {
        return Ok(());
    }
    let shown: String = type_url.chars().take(100).collect();
    Err(Problem::new(Code::Malformed, format!("there are no resources of the type {shown:?} here")).advise(SECRET).into())
}

pub(super) fn excess(error: Excess) -> Failure {
    Problem::new(Code::Malformed, error.to_string()).advise("a stream for each name, as Envoy does").into()
}

fn message(status: Option<reverie_proto::sds::Status>) -> Option<String> {
    status.map(|status| status.message.chars().take(1000).collect())
}

impl Protocol for World {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn take(&mut self, request: DiscoveryRequest) -> Result<Taken, Failure> {
        check_type(&request.type_url)?;
        let (names, nonce) = (request.resource_names, request.response_nonce);
        Self::take(self, WorldRequest { names, nonce, error: message(request.error_detail) }).map_err(excess)
    }

    fn names(&self) -> Vec<String> {
        Self::names(self).map(str::to_owned).collect()
    }

    /// An empty answer is an error to Envoy: it waits for what it may not have.
    fn due(&self, found: &BTreeMap<String, Found>) -> Option<Difference> {
        let due = self.is_due(|name| found.get(name).map(|found| &*found.version));
        due.then(|| Difference { changed: found.keys().cloned().collect(), removed: vec![] })
    }

    fn respond(&mut self, keeper: &Keeper, found: &BTreeMap<String, Found>, _: &Difference, nonce: String) -> DiscoveryResponse {
        self.sent(|name| found.get(name).map(|found| &*found.version), nonce.clone());
        let resources = found.iter().map(|(name, found)| found.resource(keeper, name)).collect();
        DiscoveryResponse { version_info: version(found), resources, type_url: SECRET.to_owned(), nonce }
    }
}

/// Of all together.
fn version(found: &BTreeMap<String, Found>) -> String {
    let mut hash = Sha256::new();
    for (name, found) in found {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update(&found.version);
    }
    data_encoding::HEXLOWER.encode(&hash.finalize()[..16])
}

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn take(&mut self, request: DeltaDiscoveryRequest) -> Result<Taken, Failure> {
        check_type(&request.type_url)?;
        let request = DeltaRequest {
            subscribe: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            initial: request.initial_resource_versions.into_iter().collect(),
            nonce: request.response_nonce,
            error: message(request.error_detail),
        };
        Self::take(self, request).map_err(excess)
    }

    fn names(&self) -> Vec<String> {
        Self::names(self).map(str::to_owned).collect()
    }

    fn due(&self, found: &BTreeMap<String, Found>) -> Option<Difference> {
        Some(self.difference(|name| found.get(name).map(|found| &*found.version))).filter(|due| !due.is_empty())
    }

    fn respond(
        &mut self,
        keeper: &Keeper,
        found: &BTreeMap<String, Found>,
        due: &Difference,
        nonce: String,
    ) -> DeltaDiscoveryResponse {
        self.sent(due, |name| found.get(name).map(|found| &*found.version), nonce.clone());
        let resources = due.changed.iter().filter_map(|name| {
            let found = found.get(name)?;
            Some(Resource { version: found.version.clone(), resource: Some(found.resource(keeper, name)), name: name.clone() })
        });
        DeltaDiscoveryResponse {
            system_version_info: version(found),
            resources: resources.collect(),
            type_url: SECRET.to_owned(),
            nonce,
            removed_resources: due.removed.clone(),
        }
    }
}
