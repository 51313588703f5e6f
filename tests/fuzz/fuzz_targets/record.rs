//! A record as it came from afar: read strictly or refused, and what is read has this one form.

#![no_main]

use reverie_core::mesh::record::{Parsed, Record};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::from_bytes(bytes) {
        assert_eq!(record.to_bytes(), bytes, "a second form of one record");
    }
    if let Ok(parsed) = Parsed::new(bytes) {
        let record = Record::from_bytes(bytes).expect("what can be filed is a record");
        assert_eq!(parsed.hash(), record.statement.hash());
        assert_eq!((parsed.author(), parsed.position()), (&record.statement.author, record.statement.position));
    }
});
