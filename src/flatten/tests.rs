//! A small catalogue, and records read through it in both modes.

use super::*;
use crate::schema::{Catalogue, Column, Derive, Endpoint, Identity, IdentitySource, Rows, Source, Table, Type, When};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use arrow::util::display::array_value_to_string;
use std::collections::BTreeMap;

fn column(name: &str, data_type: Type, source: Source) -> Column {
    Column {
        name: name.into(),
        data_type,
        source,
        enumeration: None,
        unit: None,
        description: String::new(),
        pii: None,
        rule: None,
        since: String::new(),
    }
}

fn value(name: &str, data_type: Type, path: &str) -> Column {
    column(name, data_type, Source::Value(path.split('|').map(str::to_owned).collect()))
}

fn known(name: &str, enumeration: &str, path: &str) -> Column {
    Column { enumeration: Some(enumeration.into()), ..value(name, Type::String, path) }
}

fn inherited(name: &str, data_type: Type, table: &str, from: &str) -> Column {
    column(name, data_type, Source::Inherited { table: table.into(), column: from.into() })
}

fn derived(name: &str, data_type: Type, function: &str, arguments: &[&str]) -> Column {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    column(name, data_type, Source::Derived(Derive { function: function.into(), arguments }))
}

fn identity_columns(prefix: &str) -> Vec<Column> {
    let suffixes = ["kind", "id", "display_name", "tenant_id", "user_principal_name", "email", "odata_type", "source"];
    let text = |suffix| value(&format!("{prefix}_{suffix}"), Type::String, "not.read");
    let mut columns: Vec<_> = suffixes.into_iter().map(text).collect();
    columns.push(value(&format!("{prefix}_hidden"), Type::Boolean, "not.read"));
    columns
}

fn rows(path: &str, constants: &[(&str, &str)], when: When) -> Rows {
    let constants: BTreeMap<_, _> =
        constants.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Rows { path: path.into(), constants, when }
}

fn table(name: &str, rows: Vec<Rows>, mut columns: Vec<Column>) -> Table {
    columns.push(column("extra_json", Type::String, Source::ExtraJson));
    Table { name: name.into(), rows, columns, ..Table::default() }
}

fn source(name: &str, object: Option<&str>, set: Option<&str>, outer: Option<&str>) -> IdentitySource {
    let owned = |path: Option<&str>| path.map(str::to_owned);
    IdentitySource { name: name.into(), rows: None, object: owned(object), set: owned(set), outer_id: owned(outer) }
}

fn endpoint_columns() -> Vec<Column> {
    let mut columns = Vec::new();
    for side in ["caller", "callee"] {
        columns.extend([
            value(&format!("{side}_odata_type"), Type::String, &format!("{side}.@odata.type")),
            value(&format!("{side}_name"), Type::String, &format!("{side}.name")),
            known(&format!("{side}_user_agent_platform"), "clientPlatform", &format!("{side}.userAgent.platform")),
            value(&format!("{side}_user_agent_header"), Type::String, &format!("{side}.userAgent.headerValue")),
            value(&format!("{side}_endpoint_kind"), Type::String, "not.read.either"),
        ]);
        let kind = columns.len() - 1;
        columns[kind].source = derived("x", Type::String, "endpoint_kind", &[side]).source;
        columns.extend(identity_columns(&format!("{side}_identity")));
    }
    columns
}

fn with_endpoints(mut table: Table) -> Table {
    for side in ["caller", "callee"] {
        table.endpoints.push(Endpoint { path: side.into(), column: format!("{side}_endpoint_kind") });
        let sources = vec![
            source("associatedIdentity", Some(&format!("{side}.associatedIdentity")), None, None),
            source("identity", None, Some(&format!("{side}.identity")), None),
        ];
        table.identities.push(Identity { prefix: format!("{side}_identity"), sources });
        table.kept.push(format!("{side}.identity"));
    }
    table
}

fn catalogue() -> Catalogue {
    use Type::{Boolean, Float64, Int32, Int64, String as Text, StringList, Timestamp};
    let always = |path: &str| vec![rows(path, &[], When::Always)];
    let position = |name: &str| column(name, Int32, Source::Position);
    let call_id = || inherited("call_id", Text, "calls", "call_id");

    let mut columns = vec![
        value("call_id", Text, "id"),
        value("version", Int64, "version"),
        known("type", "callType", "type"),
        Column { enumeration: Some("modality".into()), ..value("modalities", StringList, "modalities") },
        value("start_date_time", Timestamp, "startDateTime"),
        value("end_date_time", Timestamp, "endDateTime"),
        value("join_web_url", Text, "joinWebUrl"),
        value("organizer_v2_id", Text, "organizer_v2.id"),
        value("either", Text, "either|other.deep"),
        derived("thread_id", Text, "join_web_url_thread_id", &["join_web_url"]),
        derived("duration_seconds", Float64, "duration_seconds", &["start_date_time", "end_date_time"]),
        derived("session_count", Int32, "count", &["sessions"]),
        derived("participant_count", Int32, "count", &["participants"]),
    ];
    columns.extend(identity_columns("organizer"));
    let mut calls = table("calls", always(""), columns);
    calls.identities.push(Identity {
        prefix: "organizer".into(),
        sources: vec![
            source("organizer_v2", None, Some("organizer_v2.identity"), Some("organizer_v2.id")),
            source("organizer", None, Some("organizer"), None),
        ],
    });
    calls.kept = vec!["organizer".into(), "participants".into()];

    let mut columns = vec![
        call_id(),
        position("participant_index"),
        value("participant_id", Text, "id"),
        value("unit_ids", StringList, "administrativeUnitInfos[].id"),
    ];
    columns.extend(identity_columns("identity"));
    let mut participants = table(
        "participants",
        vec![rows("participants_v2[]", &[], When::Always), rows("participants[]", &[], When::IfPreviousEmpty)],
        columns,
    );
    participants.identities.push(Identity {
        prefix: "identity".into(),
        sources: vec![
            IdentitySource { rows: Some(0), ..source("participants_v2", None, Some("identity"), Some("id")) },
            IdentitySource { rows: Some(1), ..source("participants", None, Some(""), None) },
        ],
    });

    let mut columns = vec![
        call_id(),
        position("session_index"),
        value("session_id", Text, "id"),
        value("is_test", Boolean, "isTest"),
    ];
    columns.push(derived("stream_count", Int32, "count", &["streams"]));
    columns.extend(endpoint_columns());
    let sessions = with_endpoints(table("sessions", always("sessions[]"), columns));

    let mut columns = vec![
        call_id(),
        inherited("session_index", Int32, "sessions", "session_index"),
        position("segment_index"),
        value("segment_id", Text, "id"),
    ];
    columns.extend(endpoint_columns());
    let segments = with_endpoints(table("segments", always("sessions[].segments[]"), columns));

    let columns = vec![
        call_id(),
        inherited("session_index", Int32, "sessions", "session_index"),
        position("media_index"),
        value("label", Text, "label"),
        derived("media_kind", Text, "media_kind", &["label"]),
        value("caller_network_link_speed", Int64, "callerNetwork.linkSpeed"),
        value("caller_network_port", Int32, "callerNetwork.port"),
    ];
    let media = table("media", always("sessions[].segments[].media[]"), columns);

    let arguments =
        ["media_kind", "packet_utilization", "jitter_ms", "loss", "rtt_ms", "frame_loss", "frame_rate", "post_fec"];
    let columns = vec![
        call_id(),
        inherited("session_id", Text, "sessions", "session_id"),
        inherited("media_kind", Text, "media", "media_kind"),
        position("stream_index"),
        value("direction", Text, "streamDirection"),
        value("packet_utilization", Int64, "packetUtilization"),
        value("jitter_ms", Type::DurationMs, "averageJitter"),
        value("loss", Float64, "averagePacketLossRate"),
        value("rtt_ms", Type::DurationMs, "averageRoundTripTime"),
        value("frame_loss", Float64, "averageVideoFrameLossPercentage"),
        value("frame_rate", Float64, "averageVideoFrameRate"),
        value("post_fec", Float64, "postForwardErrorCorrectionPacketLossRate"),
        derived("quality", Text, "quality", &arguments),
        derived("poor_reasons", StringList, "poor_reasons", &arguments),
        derived("sender_side", Text, "sender_side", &["direction"]),
    ];
    let streams = table("streams", always("sessions[].segments[].media[].streams[]"), columns);

    let hop = |side: &str| {
        rows(&format!("sessions[].segments[].media[].{side}Network.traceRouteHops[]"), &[("side", side)], When::Always)
    };
    let columns = vec![
        call_id(),
        column("side", Text, Source::Constant),
        position("hop_index"),
        value("hop_count", Int32, "hopCount"),
    ];
    let hops = table("trace_route_hops", vec![hop("caller"), hop("callee")], columns);

    let tokens = |path: &str, level: &str, side: &str| rows(path, &[("level", level), ("side", side)], When::Always);
    let columns = vec![
        call_id(),
        inherited("session_index", Int32, "sessions", "session_index"),
        inherited("segment_index", Int32, "segments", "segment_index"),
        column("level", Text, Source::Constant),
        column("side", Text, Source::Constant),
        value("token", Text, "key"),
        value("value", Boolean, "value"),
    ];
    let tokens = table(
        "feedback_tokens",
        vec![
            tokens("sessions[].caller.feedback.tokens{}", "session", "caller"),
            tokens("sessions[].segments[].caller.feedback.tokens{}", "segment", "caller"),
        ],
        columns,
    );
    let members = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let enums = BTreeMap::from([
        ("callType".to_owned(), members(&["unknown", "groupCall", "peerToPeer"])),
        ("modality".to_owned(), members(&["audio", "video"])),
        ("clientPlatform".to_owned(), members(&["unknown", "windows"])),
    ]);
    Catalogue {
        tables: vec![calls, participants, sessions, segments, media, streams, hops, tokens],
        enums,
        ..Catalogue::default()
    }
}

fn plan() -> Arc<Plan> {
    Arc::new(Plan::compile(&catalogue()).expect("the small catalogue compiles"))
}

/// The members that every record needs, then `rest`.
fn record(rest: &str) -> String {
    format!(r#"{{"id":"a","version":1,"startDateTime":"2020-02-25T18:52:21.5Z"{rest}}}"#)
}

struct Read {
    batches: Vec<RecordBatch>,
    drift: Drift,
    careful: u64,
}

impl Read {
    fn batch(&self, table: &str) -> &RecordBatch {
        let at = catalogue().tables.iter().position(|known| known.name == table).expect("a table");
        &self.batches[at]
    }

    /// The cells of a column as text, null as `-`.
    fn cells(&self, table: &str, column: &str) -> Vec<String> {
        let array = self.batch(table).column_by_name(column).expect("a column");
        let cell =
            |row| if array.is_null(row) { "-".to_owned() } else { array_value_to_string(array, row).expect("text") };
        (0..array.len()).map(cell).collect()
    }

    fn cell(&self, table: &str, column: &str) -> String {
        self.cells(table, column).join("|")
    }
}

fn read_with(mode: Mode, records: &[&str]) -> Result<Read, Refused> {
    let mut flattener = Flattener::with_mode(plan(), mode);
    for record in records {
        flattener.push(record.as_bytes())?;
    }
    let careful = flattener.careful_records();
    Ok(Read { batches: flattener.flush().expect("a flush"), drift: flattener.take_drift(), careful })
}

/// Reads in both modes, which must agree.
fn read(records: &[&str]) -> Read {
    let fast = read_with(Mode::Fast, records).expect("records are taken");
    let careful = read_with(Mode::CarefulOnly, records).expect("records are taken");
    assert_eq!(fast.batches, careful.batches, "{records:?}");
    assert_eq!(fast.drift, careful.drift, "{records:?}");
    fast
}

fn one(rest: &str) -> Read {
    read(&[&record(rest)])
}

/// Reads one record that the fast path must take.
fn plain(rest: &str) -> Read {
    let read = one(rest);
    assert_eq!(read.careful, 0, "the fast path gave up on {rest}");
    assert!(read.drift.is_empty());
    read
}

/// Reads one record that the fast path must not take.
fn odd(rest: &str) -> Read {
    let read = one(rest);
    assert_eq!(read.careful, 1, "the fast path took {rest}");
    read
}

const MEETING: &str = r##","type":"groupCall","modalities":["audio","video",null,""],"endDateTime":"2020-02-25T18:52:51Z",
  "sessions@odata.context":"x","joinWebUrl":"https://t/l/meetup-join/19%3ax%40thread.v2/0?context=%7b%7d",
  "organizer_v2":{"id":"o","identity":{"endpointType":null,"phone":null,"user":{"id":"u","displayName":"U","tenantId":null}}},
  "participants":[],"organizer":null,
  "participants_v2":[{"id":"p0","identity":{"user":{"id":"u","displayName":"U"}},"administrativeUnitInfos":[{"id":"n1"},null,{"id":""}]},null,
                     {"id":"p2","identity":{"guest":{"id":"g","email":"e"}},"administrativeUnitInfos":[]}],
  "sessions":[{"id":"s0","isTest":false,
      "caller":{"@odata.type":"#microsoft.graph.callRecords.participantEndpoint","name":"n","userAgent":{"platform":"windows","headerValue":""},
                "feedback":{"tokens":{"Echo":true,"NoSound":false,"x":null}},
                "associatedIdentity":{"id":"u","displayName":"U","userPrincipalName":"u@x"}},
      "callee":{"userAgent":{"platform":"unknown"}},
      "segments":[{"id":"g0","caller":{"name":null},"callee":{},"media":[
         {"label":"main-audio","callerNetwork":{"linkSpeed":4294967295,"port":50000,"traceRouteHops":[{"hopCount":1},{"hopCount":2}]},
          "calleeNetwork":{"traceRouteHops":[{"hopCount":7}]},
          "streams":[{"streamDirection":"callerToCallee","packetUtilization":900,"averageJitter":"PT0.031S","averagePacketLossRate":0},
                     {"streamDirection":"calleeToCaller","packetUtilization":66,"averageJitter":"PT0.031S"}]},
         {"label":"applicationsharing-video","streams":[{"averageJitter":"PT0.45S","averageVideoFrameRate":4,"packetUtilization":9000}]},
         {"label":"data","streams":[{"packetUtilization":0}]}]}]},
     null,
     {"id":"s2","segments":[]}]"##;

#[test]
fn a_plain_meeting_takes_the_fast_path() {
    let read = plain(MEETING);
    assert_eq!(read.cell("calls", "modalities"), "[audio, video, , ]");
    assert_eq!(read.cell("calls", "thread_id"), "19:x@thread.v2");
    assert_eq!(read.cell("calls", "duration_seconds"), "29.5");
    assert_eq!(read.cell("calls", "session_count"), "2");
    assert_eq!(read.cell("calls", "participant_count"), "2");
    assert_eq!(read.cell("calls", "organizer_kind"), "user");
    assert_eq!(read.cell("calls", "organizer_id"), "u");
    assert_eq!(read.cell("calls", "organizer_source"), "organizer_v2");
    assert_eq!(read.cell("participants", "participant_index"), "0|2");
    assert_eq!(read.cell("participants", "unit_ids"), "[n1, , ]|[]");
    assert_eq!(read.cell("participants", "identity_kind"), "user|guest");
    assert_eq!(read.cell("sessions", "session_index"), "0|2");
    assert_eq!(read.cell("sessions", "stream_count"), "4|0");
    assert_eq!(read.cell("sessions", "caller_endpoint_kind"), "participant|-");
    assert_eq!(read.cell("sessions", "callee_endpoint_kind"), "service|-");
    assert_eq!(read.cell("sessions", "caller_identity_kind"), "user|-");
    assert_eq!(read.cell("sessions", "caller_user_agent_header"), "-|-");
    assert_eq!(read.cell("segments", "caller_endpoint_kind"), "participant");
    assert_eq!(read.cell("segments", "callee_endpoint_kind"), "-");
    assert_eq!(read.cell("media", "media_kind"), "audio|screen_sharing|data");
    assert_eq!(read.cell("streams", "quality"), "poor|good|good|-");
    assert_eq!(read.cell("streams", "poor_reasons"), "[jitter]|[]|[]|-");
    assert_eq!(read.cell("streams", "sender_side"), "caller|callee|-|-");
    assert_eq!(read.cell("streams", "stream_index"), "0|1|0|0");
    assert_eq!(read.cell("streams", "session_id"), "s0|s0|s0|s0");
    assert_eq!(read.cell("trace_route_hops", "side"), "caller|caller|callee");
    assert_eq!(read.cell("trace_route_hops", "hop_index"), "0|1|0");
    assert_eq!(read.cell("feedback_tokens", "token"), "Echo|NoSound");
    assert_eq!(read.cell("feedback_tokens", "value"), "true|false");
    assert_eq!(read.cell("feedback_tokens", "segment_index"), "-|-");
    assert_eq!(read.cell("feedback_tokens", "call_id"), "a|a");
    for batch in &read.batches {
        assert_eq!(batch.column_by_name("extra_json").expect("the column").null_count(), batch.num_rows());
    }
    let jitter = read.batch("streams").column_by_name("jitter_ms").expect("a column");
    assert_eq!(jitter.as_primitive::<Float64Type>().value(0), 31.0);
    let speed = read.batch("media").column_by_name("caller_network_link_speed").expect("a column");
    assert_eq!(speed.as_primitive::<Int64Type>().value(0), 4_294_967_295);
    let position = read.batch("streams").column_by_name("stream_index").expect("a column");
    assert_eq!(position.as_primitive::<Int32Type>().null_count(), 0);
}

#[test]
fn streams_know_both_ends() {
    let plan = Arc::new(Plan::compile(Catalogue::embedded()).expect("a plan"));
    let end =
        |name: &str| format!(r#"{{"userAgent":{{"platform":"{name}"}},"associatedIdentity":{{"id":"{name}-id"}}}}"#);
    let streams = r#""media":[{"callerNetwork":{"subnet":"10.0.0.0"},"streams":[{"streamDirection":"callerToCallee"},{"streamDirection":"calleeToCaller"},{}]}]"#;
    let (web, windows, android) = (end("web"), end("windows"), end("android"));
    let text = record(&format!(
        r#","sessions":[{{"caller":{web},"callee":{{"userAgent":{{"platform":"unknown"}}}},"segments":[{{{streams}}}]}},
            {{"caller":{web},"segments":[{{"caller":{windows},{streams}}},{{"callee":{android},{streams}}}]}}]"#
    ));
    let mut batches = Vec::new();
    for mode in [Mode::Fast, Mode::CarefulOnly] {
        let mut flattener = Flattener::with_mode(Arc::clone(&plan), mode);
        flattener.push(text.as_bytes()).expect("a record");
        batches.push(flattener.flush().expect("a flush"));
    }
    assert_eq!(batches[0], batches[1]);
    let at = Catalogue::embedded().tables.iter().position(|table| table.name == "streams").expect("a table");
    let cells = |column: &str| {
        let array = batches[0][at].column_by_name(column).expect("a column").as_string::<i32>();
        array.iter().map(|cell| cell.unwrap_or("-").to_owned()).collect::<Vec<_>>().join("|")
    };
    assert_eq!(cells("sender_user_agent_platform"), "web|unknown|-|windows|-|-|-|android|-");
    assert_eq!(cells("receiver_user_agent_platform"), "unknown|web|-|-|windows|-|android|-|-");
    assert_eq!(cells("sender_identity_id"), "web-id|-|-|windows-id|-|-|-|android-id|-");
    assert_eq!(cells("sender_endpoint_kind"), "participant|service|-|participant|-|-|-|participant|-");
    assert_eq!(cells("sender_network_subnet"), "10.0.0.0|-|-|10.0.0.0|-|-|10.0.0.0|-|-");
    assert_eq!(cells("receiver_network_subnet"), "-|10.0.0.0|-|-|10.0.0.0|-|-|10.0.0.0|-");
}

#[test]
fn nothing_is_the_same_as_null() {
    for rest in [
        r#","foo":null"#,
        r#","foo":"","bar":[{}],"baz":{"x":null}"#,
        r#","sessions":null"#,
        r#","sessions":[null,""]"#,
        r#","joinWebUrl":"""#,
        r#","endDateTime":"0001-01-01T00:00:00Z""#,
        r#","organizer_v2":{"id":"","identity":{"user":null}}"#,
        r#","participants":[]"#,
        r#","version@odata.type":"x","@odata.context":"c""#,
        r#","organizer":null"#,
        r#","sessions":"","organizer_v2":[]"#,
        r#","modalities":null"#,
    ] {
        assert_eq!(plain(rest).batches, plain("").batches, "{rest}");
    }
}

#[test]
fn leftovers_go_to_the_row_of_their_object() {
    let cases = [
        (r#","foo":1"#, "calls", r#"{"foo":1}"#),
        (r#","foo":{ "a b" : [1, "x y"] }"#, "calls", r#"{"foo":{"a b":[1,"x y"]}}"#),
        (r#","sessions":[null,5]"#, "calls", r#"{"sessions":[null,5]}"#),
        (r#","sessions":7"#, "calls", r#"{"sessions":7}"#),
        (r#","endDateTime":"soon""#, "calls", r#"{"endDateTime":"soon"}"#),
        (r#","joinWebUrl":5"#, "calls", r#"{"joinWebUrl":5}"#),
        (r#","joinWebUrl":"\ud800""#, "calls", r#"{"joinWebUrl":"\ud800"}"#),
        (r#","\ud800":1e400"#, "calls", r#"{"\ud800":1e400}"#),
        (r#","modalities":["audio",5]"#, "calls", r#"{"modalities":["audio",5]}"#),
        (r#","modalities":"audio""#, "calls", r#"{"modalities":"audio"}"#),
        (r#","@odata.type":"t""#, "calls", r#"{"@odata.type":"t"}"#),
        (r#","sessions":[{"caller":{"userAgent":{"foo":1}}}]"#, "sessions", r#"{"caller":{"userAgent":{"foo":1}}}"#),
        (r#","sessions":[{"isTest":"no"}]"#, "sessions", r#"{"isTest":"no"}"#),
        (r#","sessions":[{"caller":{"feedback":{"tokens":{"x":5}}}}]"#, "feedback_tokens", r#"{"value":5}"#),
        (
            r#","sessions":[{"caller":{"feedback":{"tokens":{"":true}}}}]"#,
            "sessions",
            r#"{"caller":{"feedback":{"tokens":{"":true}}}}"#,
        ),
        (
            r#","participants_v2":[{"administrativeUnitInfos":["x",{"id":"a","b":1},{"id":2}]}]"#,
            "participants",
            r#"{"administrativeUnitInfos":["x",{"b":1},{"id":2}]}"#,
        ),
        (
            r#","sessions":[{"segments":[{"media":[{"callerNetwork":{"port":2147483648}}]}]}]"#,
            "media",
            r#"{"callerNetwork":{"port":2147483648}}"#,
        ),
        (
            r#","sessions":[{"segments":[{"media":[{"streams":[{"averageJitter":"PT1Y"}]}]}]}]"#,
            "streams",
            r#"{"averageJitter":"PT1Y"}"#,
        ),
        (
            r#","sessions":[{"segments":[{"media":[{"streams":[{"averagePacketLossRate":9007199254740993}]}]}]}]"#,
            "streams",
            r#"{"averagePacketLossRate":9007199254740993}"#,
        ),
    ];
    for (rest, table, extra) in cases {
        assert_eq!(one(rest).cell(table, "extra_json"), extra, "{rest}");
    }
}

#[test]
fn the_last_of_a_repeated_member_counts_whole() {
    let read = odd(
        r#","organizer_v2":{"id":"x","identity":{"user":{"id":"u"}}},"joinWebUrl":"a","organizer_v2":{"id":"y"},"joinWebUrl":null"#,
    );
    assert_eq!(read.cell("calls", "organizer_v2_id"), "y");
    assert_eq!(read.cell("calls", "organizer_id"), "y");
    assert_eq!(read.cell("calls", "organizer_kind"), "-");
    assert_eq!(read.cell("calls", "join_web_url"), "-");
    assert_eq!(read.cell("calls", "extra_json"), "-");
    let read = odd(r#","sessions":[{"id":"a"},{"id":"b"}],"sessions":[{"id":"c"}]"#);
    assert_eq!(read.cell("sessions", "session_id"), "c");
    let read = odd(r#","sessions":[{"caller":{"feedback":{"tokens":{"x":true,"y":false,"x":null}}}}]"#);
    assert_eq!(read.cell("feedback_tokens", "token"), "y");
    let read = odd(r#","organizer_v2":{"identity":{"user":{"id":"u"},"user":null,"phone":{"id":"p"}}}"#);
    assert_eq!(read.cell("calls", "organizer_kind"), "phone");
}

#[test]
fn drift_is_counted_by_path() {
    let read = odd(
        r#","type":"new","modalities":["audio","smell"],"foo":1,"sessions":[{"foo":1,"isTest":3},{"foo":2},5],"organizer":{"acsUser":{"id":"x","y":1}}"#,
    );
    let counts =
        |pairs: &[(&str, u64)]| pairs.iter().map(|&(path, count)| (path.to_owned(), count)).collect::<BTreeMap<_, _>>();
    assert_eq!(read.drift.unknown_members, counts(&[("foo", 1), ("sessions[].foo", 2)]));
    assert_eq!(read.drift.unknown_enum_members, counts(&[("type", 1), ("modalities", 1)]));
    assert_eq!(read.drift.misfits, counts(&[("sessions[].isTest", 1), ("sessions[]", 1)]));
    assert_eq!(read.cell("calls", "type"), "new");
    let read = one(r#","type":"new""#);
    assert_eq!((read.careful, read.drift.unknown_enum_members["type"]), (0, 1));
}

#[test]
fn ids_are_lower_case_and_heads_are_unambiguous() {
    let upper = r#"{"id":"AbC","version":1,"startDateTime":"2020-02-25T18:52:21Z"}"#;
    let read = read(&[upper]);
    assert_eq!(read.cell("calls", "call_id"), "abc");
    assert_eq!(read.cell("calls", "extra_json"), r#"{"id":"AbC"}"#);
    assert_eq!(head(upper.as_bytes()).expect("a head").call_id, "abc");
    for mode in [Mode::Fast, Mode::CarefulOnly] {
        let refused = |text: &str| read_with(mode, &[text]).err();
        assert_eq!(refused(&record(r#","id":"b""#)), Some(Refused::Ambiguous));
        assert_eq!(refused(&record(r#","version":2"#)), Some(Refused::Ambiguous));
        assert_eq!(refused(&record(r#","id":"a","version":1.0"#)), None);
        assert_eq!(refused(&record(r#","startDateTime":null"#)), Some(Refused::Ambiguous));
        assert_eq!(refused("[]"), Some(Refused::NotARecord));
        assert_eq!(refused("{}"), Some(Refused::NoId));
        assert_eq!(refused(r#"{"id":"a"}"#), Some(Refused::NoStart));
        assert_eq!(refused(&format!("{} x", record(""))), Some(Refused::NotJson));
        assert_eq!(refused(&record(r#","a":1,}"#)), Some(Refused::NotJson));
        assert_eq!(refused(&record(&format!(r#","a":{}"#, "[".repeat(80)))), Some(Refused::TooDeep));
    }
}

#[test]
fn the_first_path_of_several_counts() {
    assert_eq!(plain(r#","either":"x""#).cell("calls", "either"), "x");
    let cases = [
        (r#","other":{"deep":"y"}"#, "y", r#"{"other":{"deep":"y"},"either":null}"#),
        (r#","other":{"deep":"y"},"either":"x""#, "x", r#"{"other":{"deep":"y"}}"#),
        (r#","other":{"deep":"y"},"either":5"#, "y", r#"{"either":5,"other":{"deep":"y"}}"#),
    ];
    for (rest, cell, extra) in cases {
        let read = odd(rest);
        assert_eq!(read.cell("calls", "either"), cell, "{rest}");
        let parsed = |text: &str| -> BTreeMap<String, Box<serde_json::value::RawValue>> {
            serde_json::from_str(text).expect("JSON")
        };
        let shown =
            |text: &str| parsed(text).into_iter().map(|(name, raw)| (name, raw.to_string())).collect::<Vec<_>>();
        assert_eq!(shown(&read.cell("calls", "extra_json").replace("-", "{}")), shown(extra), "{rest}");
    }
}

#[test]
fn identities_take_the_best_of_each_field() {
    // (rest, kind, id, display name, source, extra)
    let cases = [
        (r#","organizer":{"user":{"id":"u","displayName":"U"}}"#, ["user", "u", "U", "organizer", "-"]),
        (
            r#","organizer":{"acsUser":null,"phone":{"id":"p","x":1}}"#,
            ["phone", "p", "-", "organizer", r#"{"organizer":{"phone":{"x":1}}}"#],
        ),
        (
            r#","organizer_v2":{"id":"o","identity":{"user":{"id":"u"}}},"organizer":{"user":{"id":"u","displayName":"U"}}"#,
            [
                "user",
                "u",
                "U",
                "organizer_v2",
                r#"{"organizer":{"user":{"id":"u","displayName":"U"}},"organizer_v2":{"identity":{"user":{"displayName":null}}}}"#,
            ],
        ),
        (
            r#","organizer_v2":{"id":"o","identity":{"user":{"displayName":"U"}}}"#,
            ["user", "o", "U", "organizer_v2", r#"{"organizer_v2":{"identity":{"user":{"id":null}}}}"#],
        ),
        (r#","organizer_v2":{"id":"o","identity":null}"#, ["-", "o", "-", "organizer_v2", "-"]),
        (
            r#","organizer_v2":{"id":"o","identity":{"user":{"id":"u"},"phone":{"id":"p"}}}"#,
            ["user", "u", "-", "organizer_v2", r#"{"organizer_v2":{"identity":{"phone":{"id":"p"}}}}"#],
        ),
        (
            r#","organizer_v2":{"identity":{"user":{"id":7,"displayName":"U"}}}"#,
            ["user", "-", "U", "organizer_v2", r#"{"organizer_v2":{"identity":{"user":{"id":7}}}}"#],
        ),
    ];
    for (rest, expected) in cases {
        let read = one(rest);
        let columns = ["organizer_kind", "organizer_id", "organizer_display_name", "organizer_source", "extra_json"];
        assert_eq!(columns.map(|column| read.cell("calls", column)), expected.map(str::to_owned), "{rest}");
    }
}

#[test]
fn endpoints_know_their_identity_by_id_type_or_name() {
    let caller = |inner: &str| one(&format!(r#","sessions":[{{"caller":{{{inner}}}}}]"#));
    let cases = [
        (
            r#""associatedIdentity":{"id":"p"},"identity":{"user":{"id":"u"},"phone":{"id":"p","displayName":"P"}}"#,
            ["phone", "p", "P", "associatedIdentity"],
        ),
        (
            r#""associatedIdentity":{"id":"q"},"identity":{"user":{"id":"u"},"phone":{"id":"p"}}"#,
            ["user", "q", "-", "associatedIdentity"],
        ),
        (
            r##""associatedIdentity":{"id":"q","@odata.type":"#microsoft.graph.communicationsGuestIdentity"}"##,
            ["guest", "q", "-", "associatedIdentity"],
        ),
        (r#""associatedIdentity":{"id":"q","userPrincipalName":"x"}"#, ["user", "q", "-", "associatedIdentity"]),
        (r#""associatedIdentity":{"id":"q"}"#, ["-", "q", "-", "associatedIdentity"]),
        (r#""associatedIdentity":{"displayName":"D"},"identity":{"user":{"id":"u"}}"#, ["user", "u", "D", "identity"]),
        (r#""associatedIdentity":{"id":null}"#, ["-", "-", "-", "-"]),
    ];
    for (inner, expected) in cases {
        let read = caller(inner);
        let columns = ["kind", "id", "display_name", "source"];
        let shown = columns.map(|column| read.cell("sessions", &format!("caller_identity_{column}")));
        assert_eq!(shown, expected.map(str::to_owned), "{inner}");
    }
    let read = caller(r#""associatedIdentity":{"displayName":"D","foo":1},"identity":{"user":{"id":"u"}}"#);
    let extra =
        r#"{"caller":{"associatedIdentity":{"foo":1,"displayName":"D"},"identity":{"user":{"displayName":null}}}}"#;
    assert_eq!(read.cell("sessions", "extra_json"), extra);
    assert_eq!(read.drift.unknown_members.len(), 1);
}

#[test]
fn old_participants_are_read_only_without_new_ones() {
    let old = r#","participants":[{"user":{"id":"u"},"phone":null},null,{"guest":{"id":"g","x":1}}]"#;
    let read = one(old);
    assert_eq!(read.cell("participants", "identity_id"), "u|g");
    assert_eq!(read.cell("participants", "participant_index"), "0|2");
    assert_eq!(read.cell("participants", "identity_source"), "participants|participants");
    assert_eq!(read.cell("participants", "extra_json"), r#"-|{"guest":{"x":1}}"#);
    let read = one(&format!(r#"{old},"participants_v2":[{{"id":"n"}}]"#));
    assert_eq!(read.cell("participants", "identity_id"), "n");
    assert_eq!(
        read.cell("calls", "extra_json"),
        r#"{"participants":[{"user":{"id":"u"},"phone":null},null,{"guest":{"id":"g","x":1}}]}"#
    );
    assert!(read.drift.is_empty());
    let twins =
        r#","participants":[{"user":{"id":"u"}}],"participants_v2":[{"id":"n","identity":{"user":{"id":"n"}}}]"#;
    assert!(plain(twins).cell("calls", "extra_json").contains("participants"));
}

#[test]
fn the_fast_path_keeps_what_nobody_announced() {
    for rest in [
        r#","foo":{"bar":[1]}"#,
        r#","sessions":[{"caller":{"foo":1},"segments":[{"media":[{"foo":""},{"foo":{}}]}]}]"#,
    ] {
        let read = one(rest);
        assert_eq!(read.careful, 0, "{rest}");
        assert_eq!(read.drift.unknown_members.len(), 1);
    }
    assert_eq!(odd(r#","foo":1,"foo":null"#).cell("calls", "extra_json"), "-");
}

#[test]
fn what_is_too_deep_is_refused_wherever_it_stands() {
    for levels in [10, 39, 40, 41, 62, 63, 64, 65, 100, 200, 100_000] {
        for empty in [false, true] {
            let deep = format!("{}{}{}", "[".repeat(levels), if empty { "" } else { "1" }, "]".repeat(levels));
            for rest in [
                format!(r#","foo":{deep}"#),
                format!(r#","foo@odata.bar":{deep}"#),
                format!(r#","type":{deep}"#),
                format!(r#","participants":{deep}"#),
                format!(r#","participants_v2":[{{"id":"n"}}],"participants":{deep}"#),
                format!(r#","sessions":[{{"caller":{{"feedback":{{"tokens":{{"x":{deep}}}}}}}}}]"#),
            ] {
                let text = record(&rest);
                let refused = |mode| read_with(mode, &[&text]).map(|read| read.batches);
                let deepest = text.bytes().scan(0_usize, |depth, byte| {
                    *depth = (*depth + usize::from(b"[{".contains(&byte)))
                        .saturating_sub(usize::from(b"]}".contains(&byte)));
                    Some(*depth)
                });
                let expected = deepest.max().expect("brackets") > crate::json::MAX_DEPTH;
                assert_eq!(refused(Mode::Fast).is_err(), expected, "{levels} {empty} {}", &rest[..20]);
                assert_eq!(refused(Mode::Fast), refused(Mode::CarefulOnly));
            }
        }
    }
}

#[test]
fn rows_of_several_paths_stand_in_the_order_of_the_paths() {
    let hops = r#","sessions":[{"segments":[{"media":[
        {"calleeNetwork":{"traceRouteHops":[{"hopCount":3}]},"callerNetwork":{"traceRouteHops":[{"hopCount":1},{"hopCount":2}]}},
        {"calleeNetwork":{"traceRouteHops":[{"hopCount":4}]}}],
      "caller":{"feedback":{"tokens":{"b":true}}}}],"caller":{"feedback":{"tokens":{"a":true}}}}]"#;
    let read = plain(hops);
    assert_eq!(read.cell("trace_route_hops", "hop_count"), "1|2|3|4");
    assert_eq!(read.cell("trace_route_hops", "side"), "caller|caller|callee|callee");
    assert_eq!(read.cell("feedback_tokens", "token"), "a|b");
    assert_eq!(read.cell("feedback_tokens", "level"), "session|segment");
    assert_eq!(read.cell("feedback_tokens", "segment_index"), "-|0");
}

#[test]
fn a_refused_record_leaves_nothing_behind() {
    let good = record(MEETING);
    let odd_one = record(r#","foo":1,"sessions":[{"id":"z","caller":{"name":5}}],"type":"new""#);
    let mut bad = vec!["[]".to_owned(), record(r#","sessions":[{"id":"s","#), good.replace(r#""id":"a""#, r#""id":7"#)];
    bad.extend((1..good.len()).step_by(97).filter(|&at| good.is_char_boundary(at)).map(|at| good[..at].to_owned()));
    for mode in [Mode::Fast, Mode::CarefulOnly] {
        let mut flattener = Flattener::with_mode(plan(), mode);
        for record in &bad {
            flattener.push(good.as_bytes()).expect("a record");
            flattener.push(record.as_bytes()).expect_err("no record");
            flattener.push(odd_one.as_bytes()).expect("a record");
            assert!(flattener.buffered_bytes() > 0);
            let batches = flattener.flush().expect("a flush");
            let without = read_with(mode, &[&good, &odd_one]).expect("records");
            assert_eq!(batches, without.batches);
            assert_eq!(flattener.take_drift(), without.drift);
        }
        assert_eq!(flattener.rows(0), 0);
    }
}

#[test]
fn members_in_any_order_give_the_same_rows() {
    let turned = r#"{"sessions":[{"segments":[{"id":"g"}],"id":"s"}],"startDateTime":"2020-02-25T18:52:21.5Z","version":1,"id":"a"}"#;
    let straight = record(r#","sessions":[{"id":"s","segments":[{"id":"g"}]}]"#);
    assert_eq!(read(&[turned]).batches, read(&[&straight]).batches);
}

#[test]
fn catalogues_that_contradict_themselves_are_refused() {
    let refused = |change: &dyn Fn(&mut Catalogue)| {
        let mut catalogue = catalogue();
        change(&mut catalogue);
        Plan::compile(&catalogue).err().map(|error| error.to_string()).expect("a refusal")
    };
    let message = refused(&|catalogue| catalogue.tables[0].columns.push(derived("x", Type::String, "guess", &[])));
    assert!(message.contains("guess"), "{message}");
    let message = refused(&|catalogue| catalogue.tables[0].columns.push(value("x", Type::String, "sessions")));
    assert!(message.contains("sessions"), "{message}");
    let message =
        refused(&|catalogue| catalogue.tables[2].columns.push(inherited("x", Type::String, "streams", "quality")));
    assert!(message.contains("streams"), "{message}");
    let message =
        refused(&|catalogue| catalogue.tables[0].columns.push(derived("x", Type::String, "copy", &["nothing"])));
    assert!(message.contains("nothing"), "{message}");
}

#[test]
fn the_deprecated_set_beside_the_identity_is_kept_as_it_was_served() {
    let caller = |rest: &str| {
        format!(
            r#","sessions":[{{"caller":{{"associatedIdentity":{{"id":"u","displayName":"U","userPrincipalName":"u@x"}}{rest},"x":1}}}}]"#
        )
    };
    let taken = [
        r#","identity":{"user":{"id":"u","displayName":"Y"}}"#,
        r#","identity":{"application":null,"user":{"id":"u","more":[1],"id@odata.x":2}},"feedback":null"#,
        r#","identity":{"phone":"","user":{"id":"u","tenantId":null}}"#,
    ];
    for rest in taken {
        let read = one(&caller(rest));
        assert_eq!(read.careful, 0, "the fast path gave up on {rest}");
        assert_eq!(read.cell("sessions", "caller_identity_id"), "u");
        assert_eq!(read.cell("sessions", "caller_identity_display_name"), "U");
        let extra = read.cell("sessions", "extra_json");
        assert!(extra.starts_with(r#"{"caller":{"x":1,"identity":{"user":{"#), "{extra}");
    }
    let not_taken = [
        // Another one, another kind, more than one, more than is known, the same name twice.
        r#","identity":{"user":{"id":"v"}}"#,
        r#","identity":{"user":{"displayName":"U"}}"#,
        r#","identity":{"guest":{"id":"u"}}"#,
        r#","identity":{"user":{"id":"u"},"guest":{"id":"g"}}"#,
        r#","identity":{"application":{},"user":{"id":"u"}}"#,
        r#","identity":{"user":{"id":"u","tenantId":"t"}}"#,
        r#","identity":{"user":{"id":"u"},"user":null}"#,
        r#","identity":{"user":null,"user":{"id":"u"}}"#,
        r#","identity":{"user":7}"#,
    ];
    for rest in not_taken {
        odd(&caller(rest));
    }
    let first = r#"{"identity":{"user":{"id":"u"}},"associatedIdentity":{"id":"u","userPrincipalName":"p"}}"#;
    assert_eq!(one(&format!(r#","sessions":[{{"caller":{first}}}]"#)).careful, 0);
    let organizers = r#","organizer":{"user":{"id":"u"}},"organizer_v2":{"id":"u","identity":{"user":{"id":"u","displayName":"U"}}}"#;
    assert_eq!(one(organizers).careful, 0);
    // What the set left would stand behind the member after it.
    odd(r#","sessions":[{"caller":{"identity":{"user":{"id":"u"},"x":{"@odata.type":1}},"y":1}}]"#);
    // The set alone tells the kind.
    for (set, kind) in [(r#""phone":{"id":"p"}"#, "phone"), (r#""a":null,"guest":{"id":"p","email":null}"#, "guest")] {
        for rest in [
            format!(r#""associatedIdentity":{{"id":"p"}},"identity":{{{set}}}"#),
            format!(r#""identity":{{{set}}},"associatedIdentity":{{"id":"p"}}"#),
        ] {
            let read = one(&format!(r#","sessions":[{{"caller":{{{rest}}}}}]"#));
            assert_eq!((read.careful, read.cell("sessions", "caller_identity_kind")), (0, kind.to_owned()), "{rest}");
        }
    }
    // The set tells another kind than the type does, or more than one.
    for rest in [
        r##""associatedIdentity":{"id":"p","@odata.type":"#microsoft.graph.userIdentity"},"identity":{"guest":{"id":"p"}}"##,
        r#""associatedIdentity":{"id":"p"},"identity":{"guest":{"id":"p"},"user":{"id":"p"}}"#,
        r#""associatedIdentity":{"id":"p"},"identity":{"guest":{"id":"q"},"user":{"id":"p"}}"#,
    ] {
        odd(&format!(r#","sessions":[{{"caller":{{{rest}}}}}]"#));
    }
}
