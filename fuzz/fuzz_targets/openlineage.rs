//! Any bytes as OpenLineage's events: refused, or said in names that the graph can have, and the same each time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use touchmark::lineage::EntityId;
use touchmark::lineage::catalog::NodeRef;
use touchmark::lineage::openlineage::{Event, Rules, events};

fuzz_target!(|input: &[u8]| {
    let rules = Rules::default();
    let several = events(input).unwrap_or_default();
    for event in several.into_iter().chain([Event::parse(input)]).flatten() {
        let Ok(said) = event.said("fuzz", &rules) else { continue };
        for record in &said.batch.nodes {
            if let NodeRef::Identity(identity) = &record.node {
                let read: EntityId = identity.parse().expect("an identity");
                assert_eq!(read.to_string(), *identity);
            }
        }
        let again = event.said("fuzz", &rules).expect("said before");
        assert_eq!(format!("{:?}", said.batch), format!("{:?}", again.batch));
    }
});
