//! What is too large, too deep or a bomb: how much memory a run takes at most.

use crate::process;
use crate::support::{Graph, Place, call_id, days_ago, notification, record};
use callrec::simulator::{Settings, TokenFault};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// No run may take more.
const MOST_MIB: u64 = 512;
const DEPTH: usize = 100_000;

/// A case: what it is called, the exit code, the reason in the ledger or the
/// quarantine if there is one, and the place to run in.
struct Case {
    name: String,
    code: i32,
    reason: &'static str,
    /// Whether the tables are then checked and made again.
    is_large: bool,
    graph: Graph,
    place: Place,
}

/// Prints the figures; the number of faults.
pub fn report() -> u64 {
    println!("## Memory\n");
    println!("| what | exit code | reason | peak of the resident set | s |\n|---|---|---|---|---|");
    let cases: [fn() -> Case; 17] = [
        || struck("an ordinary record", None, 1, 0, ""),
        || large(200, 1),
        || large(40, 24),
        || struck("a bomb of 10 GiB as a record", Some("bomb"), 1, 3, "too-large"),
        || struck("64 of them at once", Some("bomb"), 64, 3, "too-large"),
        || struck("such a bomb as a page", Some("page-bomb"), 1, 3, "too-large"),
        || struck("such a bomb as the body of a 500", Some("error-bomb"), 32, 75, "http-500"),
        || struck("64 endless bodies at once", Some("giant"), 64, 3, "too-large"),
        || token("such a bomb in place of a token", TokenFault::Bomb),
        || token("JSON 100,000 deep in place of a token", TokenFault::Deep),
        || struck("JSON 100,000 deep as a record", Some("deep"), 1, 3, "too-deep"),
        || struck("JSON 100,000 deep as a page", Some("deep-page"), 1, 3, "too-deep"),
        || {
            line("a notification 100,000 deep", "too-deep", false, |file| {
                let _ = writeln!(file, "{{\"value\":{}{}}}", "[".repeat(DEPTH), "]".repeat(DEPTH));
            })
        },
        || line("a line of 1 GiB", "too-long", false, |file| gibibyte(file, true)),
        || line("the same, compressed", "too-long", true, |file| gibibyte(file, true)),
        // It is being written: the next run looks again.
        || Case { code: 0, ..line("a line of 1 GiB without an end", "", false, |file| gibibyte(file, false)) },
        || {
            line("100,000 forged notifications", "client-state", false, |file| {
                let item = notification(&call_id(1), "forged").to_string();
                let many = format!("{item}\n").repeat(1000);
                (0..100).for_each(|_| file.write_all(many.as_bytes()).unwrap());
            })
        },
    ];
    cases.iter().map(|case| measure(&case())).sum()
}

fn measure(case: &Case) -> u64 {
    let begun = Instant::now();
    let (code, peak, stderr) = run(&case.place, "run");
    let found = reasons(&case.place);
    let reasons = found.join(", ");
    let good = code == case.code && reasons == case.reason && peak < MOST_MIB;
    println!("| {} | {code} | {reasons} | {peak} MiB | {:.1} |", case.name, begun.elapsed().as_secs_f64());
    if !good {
        let end: Vec<&str> = stderr.lines().rev().take(5).collect();
        eprintln!("memory: {}: expected {} {}: {end:?}", case.name, case.code, case.reason);
    }
    let mut faults = u64::from(!good) + case.graph.simulator.counts().foreign;
    if case.is_large {
        for verb in ["verify", "rebuild"] {
            let begun = Instant::now();
            let (code, peak, _) = run(&case.place, verb);
            println!("| {}, `{verb}` | {code} | | {peak} MiB | {:.1} |", case.name, begun.elapsed().as_secs_f64());
            faults += u64::from(code != 0 || peak >= MOST_MIB);
        }
    }
    faults
}

/// Exit code, peak of the resident set in MiB, and what was logged.
fn run(place: &Place, verb: &str) -> (i32, u64, String) {
    let mut child =
        place.command(&[verb]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut stderr = child.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut peak = 0;
    let code = loop {
        peak = peak.max(process::peak_kib(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status.code().unwrap_or(-1);
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    (code, peak.div_ceil(1024), log.join().unwrap())
}

/// Why ids are not in the tables, and what is in quarantine, each once.
fn reasons(place: &Place) -> Vec<String> {
    let mut reasons = place.column("ledger", "reason");
    let listed = place.callrec(&["quarantine", "list", "--format", "json"]).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap_or_default();
    let items = listed.as_array().into_iter().flatten();
    reasons.extend(items.filter_map(|item| item["reason"].as_str().map(str::to_owned)));
    reasons.retain(|reason| reason != "null");
    reasons.sort();
    reasons.dedup();
    reasons
}

fn fast(endpoint: &str) -> Place {
    let place = Place::new(endpoint, "");
    let config = fs::read_to_string(place.config()).unwrap();
    let client = "requests_per_20s = 1000000\nrequests_per_record_per_20s = 100000\ntries = 2\n";
    crate::support::overwrite(&place.config(), &config.replace("backoff_seconds", &format!("{client}backoff_seconds")));
    place
}

fn struck(name: &str, fault: Option<&str>, records: u32, code: i32, reason: &'static str) -> Case {
    let graph = Graph::empty();
    let place = fast(&graph.endpoint());
    let ids: Vec<String> = (1..=records).map(call_id).collect();
    for id in &ids {
        let mut record = record(id, 1, days_ago(1), 4);
        if let Some(fault) = fault {
            record["@callrec.simulator"] = json!({"fault": fault});
        }
        graph.put(&record);
    }
    place.notify(ids.iter().map(String::as_str));
    Case { name: name.to_owned(), code, reason, is_large: false, graph, place }
}

/// So many records of so many MB, in pages.
fn large(megabytes: usize, records: u32) -> Case {
    const SESSION: usize = 20_000;
    let graph = Graph::empty();
    let place = fast(&graph.endpoint());
    let ids: Vec<String> = (1..=records).map(call_id).collect();
    for id in &ids {
        let mut record = record(id, 1, days_ago(1), megabytes * 1_000_000 / SESSION);
        for (n, session) in record["sessions"].as_array_mut().unwrap().iter_mut().enumerate() {
            session["caller"]["userAgent"]["headerValue"] = json!(format!("{n:09}/").repeat(SESSION / 10 - 120));
        }
        graph.put(&record);
    }
    place.notify(ids.iter().map(String::as_str));
    let name = if records == 1 {
        format!("a record of {megabytes} MB")
    } else {
        format!("{records} records of {megabytes} MB")
    };
    Case { name, code: 0, reason: "", is_large: true, graph, place }
}

fn token(name: &str, fault: TokenFault) -> Case {
    let graph = Graph::start(Settings { token_fault: Some(fault), ..Settings::default() });
    let place = fast(&graph.endpoint());
    graph.put(&record(&call_id(1), 1, days_ago(1), 1));
    place.notify([call_id(1).as_str()]);
    // Nothing was committed: the id is read from the log again.
    Case { name: name.to_owned(), code: 75, reason: "", is_large: false, graph, place }
}

fn line(name: &str, reason: &'static str, compressed: bool, write: fn(&mut dyn Write)) -> Case {
    let graph = Graph::empty();
    let place = fast(&graph.endpoint());
    let file = fs::File::create(place.path(if compressed { "events.jsonl.gz" } else { "events.jsonl" })).unwrap();
    if compressed {
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        write(&mut encoder);
        encoder.finish().unwrap();
    } else {
        write(&mut std::io::BufWriter::new(file));
    }
    Case { name: name.to_owned(), code: 3, reason, is_large: false, graph, place }
}

fn gibibyte(file: &mut dyn Write, with_end: bool) {
    let block = vec![b'x'; 1 << 20];
    file.write_all(b"{\"value\":\"").unwrap();
    (0..1024).for_each(|_| file.write_all(&block).unwrap());
    if with_end {
        file.write_all(b"\"}\n").unwrap();
    }
}
