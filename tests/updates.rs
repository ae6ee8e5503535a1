//! Later versions of a record, on the real binary.

mod support;

use callrec::simulator::Settings;
use chrono::TimeDelta;
use support::{Graph, Place, call_id, days_ago, record, rows};

#[test]
fn a_later_version_replaces_all_rows_also_when_its_start_moved_over_midnight() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    let midnight = days_ago(3).date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc();
    let (moved, stays, other) = (call_id(1), call_id(2), call_id(3));
    graph.put(&record(&moved, 1, midnight + TimeDelta::seconds(1), 5));
    graph.put(&record(&stays, 1, midnight + TimeDelta::hours(2), 5));
    graph.put(&record(&other, 1, midnight + TimeDelta::hours(1), 2));
    place.notify([moved.as_str(), stays.as_str(), other.as_str()]);
    place.callrec(&["run"]).expect(0);
    assert_eq!(place.column("sessions", "call_id").len(), 12);

    graph.put(&record(&moved, 2, midnight - TimeDelta::seconds(1), 2));
    graph.put(&record(&stays, 2, midnight + TimeDelta::hours(2), 3));
    place.notify([moved.as_str(), stays.as_str()]);
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!(summary["exported_updated"], 2);
    let count = |table: &str, id: &str| place.column(table, "call_id").iter().filter(|c| *c == id).count();
    for table in ["participants", "sessions", "segments", "media", "streams"] {
        assert_eq!((count(table, &moved), count(table, &stays), count(table, &other)), (2, 3, 2), "{table}");
    }
    let versions = rows(&place.root(), "calls", &["call_id", "version"]);
    assert_eq!(versions.iter().filter(|row| row[1] == "2").count(), 2);
    assert_eq!(versions.len(), 3);
    let mut archived = Vec::new();
    support::visit(&place.root().join("raw"), &mut |path| {
        callrec::raw::read_segment(path, |_, record| {
            let head = callrec::flatten::head(record).unwrap();
            archived.push((head.call_id, head.version));
            Ok(())
        })
        .unwrap();
    });
    archived.sort();
    assert_eq!(archived.len(), 5, "both versions are archived: {archived:?}");
    place.callrec(&["verify"]).expect(0);
    place.callrec(&["compact"]).expect(0);
    let merged = place.record_tables();
    place.callrec(&["rebuild"]).expect(0);
    assert_eq!(place.record_tables(), merged);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn a_simulator_that_keeps_its_answers_serves_the_same_until_a_record_changes() {
    let graph = Graph::start(Settings { throttle: false, keep_answers: true, ..Settings::default() });
    // Of 70 sessions there is a second page.
    graph.put(&record(&call_id(1), 1, days_ago(1), 70));
    let places = [(); 2].map(|()| Place::new(&graph.endpoint(), ""));
    let requests = places.each_ref().map(|place| {
        place.notify([call_id(1).as_str()]);
        place.callrec(&["run"]).expect(0).summary()["requests"].clone()
    });
    assert_eq!(requests[0], requests[1]);
    assert_eq!(places[0].record_tables(), places[1].record_tables());
    assert_eq!(graph.simulator.counts().records, 2, "the second run was served what was kept");

    graph.put(&record(&call_id(1), 2, days_ago(1), 3));
    places[0].notify([call_id(1).as_str()]);
    let summary = places[0].callrec(&["run"]).expect(0).summary();
    assert_eq!(summary["exported_updated"], 1);
    assert_eq!(places[0].column("sessions", "call_id").len(), 3);
}
