//! Any bytes as an entry: read or refused, and read as what they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use touchmark::ledger::Entry;

fuzz_target!(|input: &[u8]| {
    let Ok(entry) = Entry::parse(input) else { return };
    let _ = entry.time_us();
    let value: Value = serde_json::from_slice(input).expect("an entry is JSON");
    assert_eq!(value["kind"], Value::from(&*entry.kind));
    assert_eq!(value["time"], Value::from(&*entry.time));
    if let Some(id) = &entry.id {
        assert_eq!(value["id"], Value::from(&**id));
    }
});
