//! What clients of Envoy's SDS say, in a row: what is kept of it is bounded, and nothing is sent twice.

#![no_main]

use prost::Message;
use reverie_core::sds::{Delta, DeltaRequest, MAX_BYTES, MAX_NAMES, Wanted, World, WorldRequest};
use reverie_proto::sds::{DeltaDiscoveryRequest, DiscoveryRequest};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((variant, mut rest)) = bytes.split_first() else { return };
    let own = "example.org".parse().unwrap();
    // Each name that is in this list stands for something, in this version.
    let exists = |name: &str| Wanted::parse(name, &own).map(|_| "1");
    if variant % 2 == 0 {
        let (mut world, mut nonce) = (World::default(), 0);
        while let Ok(request) = DiscoveryRequest::decode_length_delimited(&mut rest) {
            let error = request.error_detail.map(|status| status.message);
            let request = WorldRequest { names: request.resource_names, nonce: request.response_nonce, error };
            if world.take(request).is_err() {
                return;
            }
            assert!(world.names().count() <= MAX_NAMES);
            assert!(world.names().map(str::len).sum::<usize>() <= MAX_BYTES);
            if world.is_due(exists) {
                nonce += 1;
                world.sent(exists, nonce.to_string());
                assert!(!world.is_due(exists), "it is sent again");
            }
        }
    } else {
        let (mut delta, mut nonce) = (Delta::default(), 0);
        while let Ok(request) = DeltaDiscoveryRequest::decode_length_delimited(&mut rest) {
            let request = DeltaRequest {
                subscribe: request.resource_names_subscribe,
                unsubscribe: request.resource_names_unsubscribe,
                initial: request.initial_resource_versions.into_iter().collect(),
                nonce: request.response_nonce,
                error: request.error_detail.map(|status| status.message),
            };
            if delta.take(request).is_err() {
                return;
            }
            assert!(delta.names().count() <= MAX_NAMES && delta.names().map(str::len).sum::<usize>() <= MAX_BYTES);
            let due = delta.difference(exists);
            nonce += 1;
            delta.sent(&due, exists, nonce.to_string());
            assert!(delta.difference(exists).is_empty(), "it is sent again");
        }
    }
});
