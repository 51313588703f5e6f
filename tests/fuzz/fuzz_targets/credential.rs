//! The address from which the service manager asks for a credential: read or refused, and what is read is what was there.

#![no_main]

use reverie_core::credential::{Address, MAX_NAMES, Wanted};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Address { unit, id }) = Address::parse(bytes) {
        assert!(bytes.ends_with(format!("/unit/{unit}/{id}").as_bytes()));
        assert!(unit.len() + id.len() <= MAX_NAMES + 15, "longer than any address");
        if let Ok(wanted) = id.parse::<Wanted>() {
            assert_eq!(wanted.to_string(), id, "a second name of one credential");
        }
    }
});
