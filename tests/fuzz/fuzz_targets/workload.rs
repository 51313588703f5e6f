//! What clients of `workload.sock` send: as bytes, in which nothing but `:authority` changes, and as requests of the Workload API.

#![no_main]

use prost::Message;
use reverie_core::http2::Authorities;
use reverie_core::jwt::{Audience, header};
use reverie_proto::workload::{JwtsvidRequest, ValidateJwtsvidRequest};

fn masked(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut authorities, mut ready) = (Authorities::default(), vec![]);
    bytes.chunks(piece).for_each(|piece| authorities.take(piece, &mut ready));
    ready
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = masked(bytes, usize::MAX);
    assert!(whole.len() <= bytes.len() && bytes.len() - whole.len() < 16_393, "bytes are lost or made");
    assert_eq!(whole, masked(bytes, 7), "it matters how they come");
    assert_eq!(masked(&whole, 100), whole, "masked twice it is another");

    if let Ok(request) = JwtsvidRequest::decode(bytes)
        && let Ok(audiences) = Audience::all(&request.audience)
    {
        assert!((1..=16).contains(&audiences.len()));
    }
    if let Ok(request) = ValidateJwtsvidRequest::decode(bytes)
        && let Ok(header) = header(&request.svid)
    {
        assert!(header.alg != "none" && !header.alg.starts_with("HS"), "{header:?}");
    }
});
