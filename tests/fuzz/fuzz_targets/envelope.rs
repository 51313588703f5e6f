//! DER of an envelope, outside and inside: whatever comes in, it is read or refused.

#![no_main]

use reverie_core::mesh::envelope::{outline, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = parse(bytes, 1 << 20);
    // Reads the EnvelopedData too, for which `parse` would want a signature first.
    let _ = outline(bytes, 1 << 20);
});
