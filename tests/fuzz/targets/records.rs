//! Any bytes as call records: no panic, all parsers agree, and a refused record
//! leaves nothing of itself behind.

use arrow::array::RecordBatch;
use callrec::flatten::{Flattener, Parser, Plan, head};
use callrec::schema::Catalogue;
use std::cell::RefCell;
use std::sync::Arc;

/// Between two records: no byte of JSON.
const RECORD_SEPARATOR: u8 = 0x1e;
const PARSERS: [Parser; 3] = [Parser::Sonic, Parser::SerdeJson, Parser::CarefulOnly];

pub fn check(data: &[u8]) {
    // Made once: a flattener is empty again after a flush.
    thread_local! {
        static FLATTENERS: RefCell<[Flattener; 3]> = RefCell::new({
            let plan = Arc::new(Plan::compile(Catalogue::embedded()).expect("the built-in plan"));
            PARSERS.map(|parser| Flattener::with_parser(plan.clone(), parser))
        });
    }
    let records: Vec<&[u8]> = data.split(|byte| *byte == RECORD_SEPARATOR).filter(|one| !one.is_empty()).collect();
    FLATTENERS.with_borrow_mut(|[sonic, serde_json, careful]| {
        let (refused, batches) = flatten(sonic, &records);
        let taken: Vec<&[u8]> =
            records.iter().zip(&refused).filter(|(_, refused)| refused.is_none()).map(|(record, _)| *record).collect();
        for other in [serde_json, careful] {
            let (also_refused, also_batches) = flatten(other, &records);
            assert_eq!(refused, also_refused, "the parsers differ");
            assert_eq!(batches, also_batches, "the parsers differ");
        }
        assert!(taken.iter().all(|record| head(record).is_ok()), "a record is taken whose head cannot be read");
        if taken.len() < records.len() {
            assert_eq!(batches, flatten(sonic, &taken).1, "a refused record left something behind");
        }
    });
}

fn flatten(flattener: &mut Flattener, records: &[&[u8]]) -> (Vec<Option<&'static str>>, Vec<RecordBatch>) {
    let refused = records.iter().map(|record| flattener.push(record).err().map(|refused| refused.code())).collect();
    (refused, flattener.flush().expect("far below 2 GiB"))
}
