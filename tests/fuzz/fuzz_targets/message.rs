//! The plaintext of an envelope. What begins with a zero is CBOR that is compressed here, so that the reader behind the
//! decompressor is reached; all else goes in as it is. What is read must be written and read again as the same.

#![no_main]

use reverie_core::mesh::message::Message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let message = match bytes.split_first() {
        Some((0, cbor)) => zstd::bulk::compress(cbor, 1).ok().and_then(|packed| Message::read(&packed).ok()),
        _ => Message::read(bytes).ok(),
    };
    if let Some(message) = message {
        let packed = message.pack().expect("what was read is within bounds");
        assert_eq!(Message::read(&packed).expect("what was written is read"), message);
    }
});
