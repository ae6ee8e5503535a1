use super::{Logs, gzip, id, line, numbers, zstandard};
use crate::notifications::{Reason, collect};
use uuid::Uuid;

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// Reads one line with a client state and a tenant set: ids, skips and reasons.
fn judged(text: &str) -> (Vec<u32>, Vec<&'static str>, Vec<&'static str>) {
    let mut logs = Logs::new("a.jsonl");
    logs.settings.client_state = Some("secret".into());
    logs.settings.tenant_id = Some(Uuid::try_parse(TENANT).unwrap());
    logs.append("a.jsonl", format!("{text}\n"));
    let collected = logs.collect();
    let skipped: Vec<&'static str> =
        collected.skipped.iter().flat_map(|(why, count)| (0..*count).map(|_| *why)).collect();
    for rejected in &collected.rejected {
        assert!(!String::from_utf8_lossy(&rejected.bytes).contains("secret"), "{rejected:?}");
    }
    assert_eq!(collected.read as usize, collected.notifications.len() + skipped.len() + collected.rejected.len());
    (numbers(&collected), skipped, collected.rejected.iter().map(|rejected| rejected.reason.code()).collect())
}

fn item(rest: &str) -> String {
    format!(r#"{{"clientState":"secret",{rest}}}"#)
        .replace("ID7", &id(7))
        .replace("ID8", &id(8))
        .replace("TENANT", TENANT)
}

#[test]
fn every_shape_of_a_call_record_is_taken() {
    for rest in [
        r#""resource":"communications/callRecords/ID7""#,
        r#""resource":"/communications/callRecords/ID7/""#,
        r#""resource":"https://graph.microsoft.com/v1.0/communications/callRecords/ID7""#,
        r#""resource":"communications/callRecords('ID7')""#,
        r#""resource":"communications/callrecords(ID7)","resourceData":null"#,
        r#""resource":"communications/callRecords","resourceData":{"id":"ID7"}"#,
        r#""resource":"communications/callRecords/ID7","resourceData":"@{id=ID7; @odata.type=x}""#,
        r#""resource":"communications/callRecords/ID7","resourceData":"System.Object""#,
        r##""resourceData":"{\"id\":\"ID7\",\"@odata.type\":\"#Microsoft.Graph.callRecord\"}""##,
        r##""resourceData":{"id":"ID7","@odata.type":"#microsoft.graph.CALLRECORD"}"##,
        r##""resourceData":{"id":"ID7","oDataType":"#Microsoft.Graph.callrecord"}"##,
        r#""changeType":"updated","resourceData":{"oDataId":"communications/callRecords/ID7"}"#,
        r#""changeType":"someday","Resource":"communications/callRecords/ID7","tenantId":"TENANT""#,
        r#""resource":"communications/callRecords/ID7","resourceData":{"id":"NA"},"subscriptionExpirationDateTime":"NA""#,
    ] {
        assert_eq!(judged(&item(rest)), (vec![7], vec![], vec![]), "{rest}");
    }
}

#[test]
fn what_is_no_call_record_of_ours_is_counted() {
    for (rest, why) in [
        (r#""resource":"users/a/messages/ID7""#, "other-resource"),
        (r#""resource":"communications/onlineMeetings/ID7""#, "other-resource"),
        (r##""resourceData":{"id":"ID7","@odata.type":"#Microsoft.Graph.Message"}"##, "other-resource"),
        (r#""resource":"communications/callRecords/ID7","tenantId":"ID8""#, "other-tenant"),
        (r#""resource":"communications/callRecords/ID7","changeType":"deleted""#, "deleted"),
        (r#""subscriptionId":"x","lifecycleEvent":"missed""#, "lifecycle"),
    ] {
        assert_eq!(judged(&item(rest)), (vec![], vec![why], vec![]), "{rest}");
    }
    let validation = r#"{"value":[{"subscriptionId":"NA","clientState":"NA","changeType":"Validation: Testing","resource":"NA","resourceData":{"id":"NA"}}]}"#;
    assert_eq!(judged(validation), (vec![], vec!["validation"], vec![]));
}

#[test]
fn what_cannot_be_trusted_is_refused() {
    for (rest, reason) in [
        (r#""resource":"communications/callRecords/../../x""#, "no-call-id"),
        (r#""changeType":"updated""#, "no-call-id"),
        (r#""resource":"communications/callRecords/ID7","resourceData":{"id":"ID8"}"#, "conflicting-ids"),
        (r#""resource":"communications/callRecords/ID7","tenantId":"contoso""#, "tenant-id"),
        (r#""resource":"communications/callRecords/ID7","tenantId":5"#, "tenant-id"),
        (r#""other":1"#, "not-a-notification"),
    ] {
        assert_eq!(judged(&item(rest)), (vec![], vec![], vec![reason]), "{rest}");
    }
    let resource = format!(r#""resource":"communications/callRecords/{}""#, id(7));
    for state in [
        r#""clientState":"secreT","#,
        r#""clientState":"secrets","#,
        r#""clientState":"","#,
        r#""clientState":null,"#,
        r#""clientState":7,"#,
        "",
    ] {
        assert_eq!(judged(&format!("{{{state}{resource}}}")), (vec![], vec![], vec!["client-state"]), "{state}");
    }
    assert_eq!(judged(r#"{"lifecycleEvent":"missed"}"#).2, vec!["client-state"]);
    assert_eq!(judged(r#"{"value":7}"#).2, vec!["not-a-notification"]);
    assert_eq!(judged("17").2, vec!["not-a-notification"]);
    assert_eq!(judged(r#"{"value":[{"clientState":"secret""#).2, vec!["not-json"]);
}

#[test]
fn good_items_beside_a_bad_one_count() {
    let good = item(r#""resource":"communications/callRecords/ID7""#);
    let (ids, skipped, refused) = judged(&format!(r#"{{"value":[{good},5,{{"resource":"x"}},{good}]}}"#));
    assert_eq!((ids, skipped, refused), (vec![7, 7], vec![], vec!["not-a-notification", "client-state"]));
}

#[test]
fn bad_lines_are_refused_with_their_place_and_the_rest_is_read() {
    let mut logs = Logs::new("a.jsonl");
    let mut bytes = b"\xef\xbb\xbf".to_vec();
    bytes.extend(line(&[1]).trim_end().as_bytes());
    bytes.extend(b"\r\n\r\n   \n");
    let mut expected = Vec::new();
    for (bad, reason) in [
        (b"\xff{}\n".to_vec(), Reason::NotUtf8),
        (b"{\0\0}\n".to_vec(), Reason::NotJson),
        ([vec![b'['; 100], vec![b']'; 100], b"\n".to_vec()].concat(), Reason::TooDeep),
        ([vec![b'x'; 1_000_000], b"\n".to_vec()].concat(), Reason::TooLong),
        (b"{\"value\":[\n".to_vec(), Reason::NotJson),
    ] {
        expected.push((bytes.len() as u64, reason));
        bytes.extend(bad);
        bytes.extend(line(&[2]).as_bytes());
    }
    logs.append("a.jsonl", &bytes);
    let collected = logs.collect();
    assert_eq!(numbers(&collected), [1, 2, 2, 2, 2, 2]);
    let found: Vec<_> = collected.rejected.iter().map(|one| (one.offset, one.reason)).collect();
    assert_eq!(found, expected);
    assert!(collected.rejected.iter().all(|one| one.bytes.len() <= 16 * 1024));
    assert_eq!(logs.collect().read, 0);
}

#[test]
fn documents_are_read_whole_and_again_when_rewritten() {
    let pretty = |number| {
        format!("{{\n  \"value\": [\n    {{\"resource\": \"communications/callRecords/{}\"}}\n  ]\n}}\n", id(number))
    };
    for name in ["a.json", "a.jsonl"] {
        let mut logs = Logs::new("*");
        logs.append(name, &pretty(1)[..30]);
        assert_eq!(logs.numbers(), [0_u32; 0]);
        logs.replace(name, pretty(1));
        assert_eq!(logs.numbers(), [1]);
        assert_eq!(logs.numbers(), [0_u32; 0]);
        logs.replace(name, pretty(2));
        assert_eq!(logs.numbers(), [2]);
        logs.remove(name);
        assert_eq!(logs.numbers(), [0_u32; 0]);
        assert!(logs.cursors.is_empty());
    }
    let mut logs = Logs::new("*");
    logs.append("list.json", format!("[\n{},\n{}]", pretty(3), line(&[4, 5])));
    logs.append("lines.json", line(&[6]) + &line(&[7]));
    logs.append("packed.json.gz", gzip(pretty(8).as_bytes()));
    let mut all = logs.numbers();
    all.sort_unstable();
    assert_eq!(all, [3, 4, 5, 6, 7, 8]);
    logs.append("bad.json", "{\n]");
    logs.append("big.json", format!("[\n{}", " ".repeat(100_000)));
    let collected = logs.collect();
    assert_eq!(collected.rejected.iter().map(|one| one.reason).collect::<Vec<_>>(), [Reason::NotJson, Reason::TooLong]);
    assert_eq!(logs.collect().read, 0);
}

#[test]
fn directories_globs_and_compressed_files_name_each_file_once() {
    let mut logs = Logs::new("");
    let root = logs.directory.path().to_owned();
    std::fs::create_dir_all(root.join("2026/11")).unwrap();
    std::fs::create_dir_all(root.join("x")).unwrap();
    logs.append("2026/11/a.jsonl", line(&[1]));
    logs.append("2026/11/.hidden.jsonl", line(&[9]));
    logs.append("x/b.jsonl.gz", [gzip(line(&[2]).as_bytes()), gzip(line(&[3]).as_bytes())].concat());
    logs.append("x/c.jsonl.zst", [zstandard(line(&[4]).as_bytes()), zstandard(line(&[5]).as_bytes())].concat());
    let patterns = ["**/*.jsonl", "2026/*/a.*", "x", "x/{b,c}.*", "none/*", "none.jsonl"];
    logs.settings.patterns = patterns.iter().map(|pattern| root.join(pattern)).collect();
    let mut all = logs.numbers();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4, 5]);
    assert_eq!(logs.numbers(), [0_u32; 0]);
    logs.settings.patterns = vec![root.join("x/[")];
    assert_eq!(collect(&logs.settings, &[]).unwrap_err().class(), crate::error::Class::Config);
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_files_and_devices_are_refused() {
    let mut logs = Logs::new("*");
    logs.append("a.jsonl", line(&[1]));
    std::os::unix::fs::symlink(logs.path("a.jsonl"), logs.path("b.jsonl")).unwrap();
    std::os::unix::fs::symlink(logs.path("gone"), logs.path("c.jsonl")).unwrap();
    assert_eq!(logs.numbers(), [1]);
    logs.settings.patterns = vec!["/dev/null".into()];
    let error = collect(&logs.settings, &[]).unwrap_err();
    assert_eq!(error.class(), crate::error::Class::Config);
    assert!(error.to_string().contains("no regular file"), "{error}");
}

#[test]
fn a_damaged_archive_is_refused_once_wherever_the_damage_is() {
    let lines = line(&[1, 2]);
    for (name, text) in [("a.gz", lines.clone()), ("b.json.gz", format!("[\n{lines}")), ("gz-by-content", lines)] {
        let whole = gzip(text.as_bytes());
        for damage in (3..whole.len()).step_by(5) {
            let mut logs = Logs::new("*gz*");
            let mut bytes = whole.clone();
            bytes[damage] ^= 0x55;
            logs.append(name, bytes);
            let first = logs.collect().rejected.iter().filter(|one| one.reason == Reason::Damaged).count();
            assert!(first <= 1, "{name} {damage}: {first}");
            let second = logs.collect();
            assert_eq!((second.read, second.rejected), (0, vec![]), "{name}, damaged at {damage}");
        }
    }
}

#[test]
fn so_much_is_refused_that_the_rest_waits_and_nothing_of_it_is_missed() {
    let garbage = |lines: usize| format!("{}\n", "x".repeat(16_000)).repeat(lines);
    let log = |lines: usize, number: u32| line(&[number]) + &garbage(lines) + &line(&[number + 1]);
    let mut logs = Logs::new("*.jsonl*");
    logs.settings.max_line_bytes = 1 << 20;
    logs.append("a.jsonl.1.gz", gzip(log(2500, 1).as_bytes()));
    logs.append("b.jsonl", log(2500, 3));
    logs.append("c.jsonl", log(1, 5));
    let (mut found, mut refused, mut runs) = (Vec::new(), 0, 0);
    loop {
        let collected = logs.collect();
        assert!(collected.gaps.is_empty(), "{:?}", collected.gaps);
        found.extend(numbers(&collected));
        refused += collected.rejected.len();
        runs += 1;
        if !collected.more {
            break;
        }
    }
    found.sort_unstable();
    assert_eq!((found, refused, runs), (vec![1, 2, 3, 4, 5, 6], 5001, 2));
    assert_eq!(logs.collect().read, 0);
}
