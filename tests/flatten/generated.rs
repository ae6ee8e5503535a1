//! The records of the simulator's generator: large, mostly without oddities, so
//! that the fast path is compared too.

use callrec::flatten::Mode;
use callrec::simulator::generator::{Shape, record};

#[test]
fn generated_records_give_the_same_rows_and_are_built_again() {
    let now = "2026-11-20T00:00:00Z".parse().unwrap();
    let mut fast = 0;
    for index in 0..60 {
        let text = record(11, index, now, Shape { max_sessions: 20, misfits: true }).json;
        let tables = crate::rebuild::flattened(std::slice::from_ref(&text));
        crate::simple::assert_same(&text, &tables[0]);
        crate::rebuild::assert_rebuilt(&text, &tables[0]);
        let mut flattener = crate::flattener(Mode::Fast);
        flattener.push(text.as_bytes()).unwrap();
        fast += usize::from(flattener.careful_records() == 0);
    }
    assert!(fast >= 40, "{fast} of 60 records took the fast path");
}
