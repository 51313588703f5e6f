//! What the fuzz targets begin with is of the present format: a corpus that its parser refuses at the first byte finds nothing.

use std::{fs, path::Path};

use reverie_core::mesh::{
    envelope,
    join::{request, token::Token},
    message::Message,
    record::Parsed,
};

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

#[test]
fn every_address_of_the_corpus_names_a_credential() {
    for (name, bytes) in corpus("credential") {
        let address = reverie_core::credential::Address::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        address.id.parse::<reverie_core::credential::Wanted>().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn every_record_of_the_corpus_is_read() {
    for (name, bytes) in corpus("record") {
        Parsed::new(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn every_message_of_the_corpus_is_read() {
    for (name, bytes) in corpus("message") {
        let packed = match bytes.split_first() {
            Some((0, cbor)) => zstd::bulk::compress(cbor, 1).unwrap(),
            _ => bytes,
        };
        Message::read(&packed).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn every_envelope_of_the_corpus_is_read() {
    for (name, bytes) in corpus("envelope") {
        envelope::parse(&bytes, 1 << 20).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn every_request_to_join_and_every_token_of_the_corpus_is_read() {
    for (name, bytes) in corpus("join") {
        match bytes.split_first() {
            // A token without its prefix and check sum, and an answer that is bound to another request: no reader takes them alone.
            Some((0 | 2, _)) => {}
            Some((1, body)) => {
                request::from_body(body, [0; 32]).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            _ => {
                std::str::from_utf8(&bytes).unwrap().parse::<Token>().unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
}
