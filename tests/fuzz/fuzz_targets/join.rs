//! What a joiner and a host read of each other before they trust each other. The first byte says what it is: 0 the CBOR of a
//! token (its check sum is made here, or nothing behind it is ever reached), 1 a request's body, 2 an answer; all else is a
//! line that may be a token.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reverie_core::mesh::join::answer::{Answer, Expected};
use reverie_core::mesh::join::request::{from_body, to_body};
use reverie_core::mesh::join::token::{PREFIX, Token};
use sha2::{Digest, Sha256};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((0, cbor)) => {
            let mut body = [&[1], cbor].concat();
            let sum = Sha256::digest(&body);
            body.extend_from_slice(&sum[..4]);
            token(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(body)));
        }
        Some((1, body)) => {
            if let Ok(request) = from_body(body, [0; 32]) {
                assert_eq!(from_body(&to_body(&request), [0; 32]).expect("what was written is read"), request);
            }
        }
        Some((2, cbor)) => answer(cbor),
        _ => {
            if let Ok(line) = std::str::from_utf8(bytes) {
                token(line);
            }
        }
    }
});

fn token(line: &str) {
    if let Ok(token) = line.parse::<Token>() {
        assert_eq!(token.to_line().as_str(), line.trim(), "a second form of one token");
    }
}

fn answer(cbor: &[u8]) {
    let expected = Expected {
        binding: [1; 32],
        node: "web1.example.org".parse().expect("a node id"),
        trust_domain: "example.org".parse().expect("a trust domain"),
        mesh: None,
        issuer: None,
    };
    if let Ok(answer) = Answer::check(cbor, &expected) {
        assert_eq!(answer.encode(), cbor, "a second form of one answer");
    }
}
