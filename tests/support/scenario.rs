//! One dataset and one run that passes every step of the commit protocol: the
//! crash tests and the torture start from here.

use crate::support::{Graph, Place, call_id, days_ago, record, refused};
use chrono::TimeDelta;

/// Calls of two dates are exported; then there is a later version that stays,
/// one that moves over midnight, one with fewer sessions, one whose part
/// becomes empty, new calls, a 404 and a record that is refused. The next run
/// exports one new call and three updates, and one item goes to quarantine.
#[allow(unreachable_pub, reason = "shared by test binaries")]
pub fn begin() -> (Graph, Place) {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    let midnight = days_ago(1).date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc();
    let at = |hours: i64| midnight + TimeDelta::hours(hours);
    graph.put(&record(&call_id(1), 1, midnight + TimeDelta::seconds(1), 5));
    graph.put(&record(&call_id(2), 1, at(2), 4));
    graph.put(&record(&call_id(3), 1, at(3), 1));
    place.notify([call_id(1), call_id(2), call_id(3)].iter().map(String::as_str));
    place.callrec(&["run"]).expect(0);
    graph.put(&record(&call_id(4), 1, at(-20), 2));
    place.notify([call_id(4).as_str()]);
    place.callrec(&["run"]).expect(0);

    graph.put(&record(&call_id(1), 2, midnight - TimeDelta::seconds(1), 5));
    graph.put(&record(&call_id(2), 2, at(2), 2));
    graph.put(&record(&call_id(4), 2, at(4), 3));
    graph.put(&record(&call_id(5), 1, at(5), 3));
    graph.put(&refused(&call_id(6), at(6)));
    place.notify([1, 2, 4, 5, 6, 7].map(call_id).iter().map(String::as_str));
    (graph, place)
}
