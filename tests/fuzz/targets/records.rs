//! Any bytes as call records: no panic, both modes agree, and a refused record
//! leaves nothing of itself behind.

use arrow::array::RecordBatch;
use callrec::flatten::{Flattener, Mode, Plan, head};
use callrec::schema::Catalogue;
use std::cell::RefCell;
use std::sync::Arc;

/// Between two records: no byte of JSON.
const RECORD_SEPARATOR: u8 = 0x1e;
const MODES: [Mode; 2] = [Mode::Fast, Mode::CarefulOnly];

pub fn check(data: &[u8]) {
    // Made once: a flattener is empty again after a flush.
    thread_local! {
        static FLATTENERS: RefCell<[Flattener; 2]> = RefCell::new({
            let plan = Arc::new(Plan::compile(Catalogue::embedded()).expect("the built-in plan"));
            MODES.map(|mode| Flattener::with_mode(plan.clone(), mode))
        });
    }
    let records: Vec<&[u8]> = data.split(|byte| *byte == RECORD_SEPARATOR).filter(|one| !one.is_empty()).collect();
    FLATTENERS.with_borrow_mut(|[fast, careful]| {
        let (refused, batches) = flatten(fast, &records);
        let taken: Vec<&[u8]> =
            records.iter().zip(&refused).filter(|(_, refused)| refused.is_none()).map(|(record, _)| *record).collect();
        let (also_refused, also_batches) = flatten(careful, &records);
        assert_eq!(refused, also_refused, "the modes differ");
        assert_eq!(batches, also_batches, "the modes differ");
        assert!(taken.iter().all(|record| head(record).is_ok()), "a record is taken whose head cannot be read");
        if taken.len() < records.len() {
            assert_eq!(batches, flatten(fast, &taken).1, "a refused record left something behind");
        }
    });
}

fn flatten(flattener: &mut Flattener, records: &[&[u8]]) -> (Vec<Option<&'static str>>, Vec<RecordBatch>) {
    let refused = records.iter().map(|record| flattener.push(record).err().map(|refused| refused.code())).collect();
    (refused, flattener.flush().expect("far below 2 GiB"))
}
