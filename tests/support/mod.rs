//! What the tests of the real binary share: a directory with a config, a log and
//! a simulator that outlives single runs.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses another part")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests write files and read JSON as they like"
)]

use callrec::clock::Clock;
use callrec::simulator::{self, Settings, Simulator};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Client state of the simulator's default settings.
pub const STATE: &str = "sample-client-state";
pub const TENANT: &str = "11111111-1111-4111-8111-111111111111";
/// The schema of [`Place::pretend_older_schema`].
pub const OLDER_SCHEMA: &str = "an older one";
pub const TABLES: [&str; 8] =
    ["calls", "participants", "sessions", "segments", "media", "streams", "trace_route_hops", "feedback_tokens"];

/// What happens at a crash point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The step fails as on a full disk.
    Error,
    /// The program panics.
    Panic,
    /// The process ends at once, as by SIGKILL.
    Abort,
}

impl How {
    pub const ALL: [Self; 3] = [Self::Error, Self::Panic, Self::Abort];

    const fn action(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Abort => "abort",
        }
    }
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The summary: the last line of stdout.
    pub fn summary(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_else(|| panic!("no summary; stderr:\n{}", self.stderr));
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }

    pub fn expect_not(self, code: i32) -> Self {
        assert_ne!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// A directory with `callrec.toml`, `events.jsonl` and `out/`.
pub struct Place {
    pub directory: tempfile::TempDir,
}

impl Place {
    /// A place whose config asks `endpoint` (a URL, or `simulator` with `records/`
    /// beside the config). `more` is appended to the config.
    pub fn new(endpoint: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self { directory };
        place.configure(endpoint, more);
        place
    }

    /// Writes the config anew.
    pub fn configure(&self, endpoint: &str, more: &str) {
        let authority = if endpoint == "simulator" { String::new() } else { format!("authority = \"{endpoint}\"\n") };
        let config = format!(
            "[source]\nnotifications = [\"events.jsonl*\"]\nclient_state = \"{STATE}\"\n\n\
             [graph]\nendpoint = \"{endpoint}\"\nbackoff_seconds = 0.005\n\n\
             [graph.auth]\n{authority}tenant_id = \"{TENANT}\"\nclient_id = \"22222222-2222-4222-8222-222222222222\"\n\
             client_secret = \"sample-secret-not-real\"\n\n[output]\nroot = \"out\"\n{more}"
        );
        fs::write(self.config(), config).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("callrec.toml")
    }

    pub fn root(&self) -> PathBuf {
        self.path("out")
    }

    /// Appends one collection with a notification per id to the log.
    pub fn notify<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let items: Vec<Value> = ids.into_iter().map(|id| notification(id, STATE)).collect();
        self.append(&format!("{}\n", json!({"value": items})));
    }

    /// Appends bytes to the log.
    pub fn append(&self, text: &str) {
        use std::io::Write;
        let mut log = fs::OpenOptions::new().create(true).append(true).open(self.path("events.jsonl")).unwrap();
        log.write_all(text.as_bytes()).unwrap();
    }

    /// The command, with nothing of the caller's environment that it reads.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callrec"));
        for name in ["CALLREC_CONFIG", "CALLREC_OUTPUT__ROOT", "CALLREC_LOG_LEVEL", "CALLREC_LOG_FORMAT", "FAILPOINTS"]
        {
            command.env_remove(name);
        }
        command.arg("--config").arg(self.config()).args(arguments).current_dir(self.directory.path());
        command
    }

    pub fn callrec(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments))
    }

    /// Runs the binary with a crash point armed, which disturbs it when it is
    /// reached for the `count`-th time (from 1).
    ///
    /// # Panics
    /// If the point was not reached, or the binary did not end as `how` says.
    pub fn disturb(&self, arguments: &[&str], point: &str, count: usize, how: How) {
        use std::os::unix::process::ExitStatusExt;
        let action = format!("return({})", how.action());
        let action = if count > 1 { format!("{}*off->{action}", count - 1) } else { action };
        let mut command = self.command(arguments);
        command.env("FAILPOINTS", format!("{point}={action}")).env("RUST_BACKTRACE", "0");
        let output = command.output().unwrap();
        let ended = match how {
            How::Error => output.status.code() == Some(74),
            How::Panic => output.status.code() == Some(101),
            How::Abort => output.status.signal() == Some(6),
        };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(ended, "{arguments:?} at {point} {count} {how:?}: {}\n{stderr}", output.status);
    }

    /// SHA-256 of the contents of the record tables per table and date, whatever
    /// the file names; the number of files beside it.
    pub fn record_tables(&self) -> BTreeMap<String, (usize, String)> {
        record_tables(&self.root())
    }

    /// Every file below the root with its SHA-256.
    pub fn all_files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        visit(&self.root(), &mut |path| {
            let name = path.strip_prefix(self.root()).unwrap().display().to_string();
            files.insert(name, sha256(&fs::read(path).unwrap()));
        });
        files
    }

    /// The newest commit record.
    pub fn newest_commit(&self) -> Value {
        let mut names: Vec<PathBuf> = fs::read_dir(self.root().join("_callrec/commits"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "json"))
            .collect();
        names.sort();
        serde_json::from_slice(&fs::read(names.last().expect("a commit")).unwrap()).unwrap()
    }

    /// Makes the only commit say that a program with an older schema wrote it.
    pub fn pretend_older_schema(&self) {
        let path = self.root().join("_callrec/commits/000001.json");
        let mut commit: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        commit["schema"] = json!(OLDER_SCHEMA);
        fs::write(&path, commit.to_string()).unwrap();
    }

    /// Rows of a column of a table as JSON-like text, over all parts.
    pub fn column(&self, table: &str, column: &str) -> Vec<String> {
        rows(&self.root(), table, &[column]).into_iter().map(|mut row| row.remove(0)).collect()
    }
}

pub fn record_tables(root: &Path) -> BTreeMap<String, (usize, String)> {
    let mut tables = BTreeMap::new();
    for table in TABLES {
        let mut dates: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        visit(&root.join(table), &mut |path| {
            let date = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
            dates.entry(date).or_default().push(path.to_owned());
        });
        for (date, mut files) in dates {
            files.sort();
            let bytes: Vec<u8> = files.iter().flat_map(|f| fs::read(f).unwrap()).collect();
            tables.insert(format!("{table}/{date}"), (files.len(), sha256(&bytes)));
        }
    }
    tables
}

/// The rows of some columns of a table over all parts, values as text, null as `null`.
pub fn rows(root: &Path, table: &str, columns: &[&str]) -> Vec<Vec<String>> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let mut all = Vec::new();
    visit(&root.join(table), &mut |path| {
        let file = fs::File::open(path).unwrap();
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let options = FormatOptions::new().with_null("null");
            let plain: Vec<_> = columns.iter().map(|name| without_zone(&batch, name)).collect();
            let formatters: Vec<_> =
                plain.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                all.push(formatters.iter().map(|f| f.value(row).to_string()).collect());
            }
        }
    });
    all
}

/// A column; instants as microseconds since 1970.
pub fn without_zone(batch: &arrow::array::RecordBatch, name: &str) -> arrow::array::ArrayRef {
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    match column.data_type() {
        arrow::datatypes::DataType::Timestamp(..) => {
            arrow::compute::cast(column, &arrow::datatypes::DataType::Int64).unwrap()
        }
        _ => column.clone(),
    }
}

pub fn overwrite(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

pub fn visit(directory: &Path, each: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() { visit(&path, each) } else { each(&path) }
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    callrec::files::hex(&sha2::Sha256::digest(bytes))
}

pub fn ended(mut command: Command) -> Ended {
    let output = command.output().expect("the binary starts");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// As [`ended`], in a working directory and without the caller's settings.
pub fn ended_in(mut command: Command, directory: &Path) -> Ended {
    for name in ["CALLREC_CONFIG", "CALLREC_OUTPUT__ROOT", "CALLREC_LOG_LEVEL", "CALLREC_LOG_FORMAT", "FAILPOINTS"] {
        command.env_remove(name);
    }
    command.current_dir(directory);
    ended(command)
}

/// A notification of a call record.
pub fn notification(id: &str, state: &str) -> Value {
    json!({
        "subscriptionId": "33333333-3333-4333-8333-333333333333",
        "clientState": state,
        "changeType": "updated",
        "resource": format!("communications/callRecords/{id}"),
        "subscriptionExpirationDateTime": "2099-01-01T00:00:00.000+00:00",
        "resourceData": {"@odata.type": "#Microsoft.Graph.callRecord", "@odata.id": format!("communications/callRecords/{id}"), "id": id},
        "tenantId": TENANT,
    })
}

/// A simulator in this process, for runs of the binary that ask it over HTTP.
pub struct Graph {
    pub runtime: tokio::runtime::Runtime,
    pub simulator: Simulator,
}

impl Graph {
    pub fn start(settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clock = settings.now.map_or_else(Clock::system, Clock::pinned);
        let simulator = runtime.block_on(simulator::start(settings, clock)).unwrap();
        Self { runtime, simulator }
    }

    /// A simulator without limits that serves as of now and knows no record yet.
    pub fn empty() -> Self {
        Self::start(Settings { throttle: false, ..Settings::default() })
    }

    pub fn endpoint(&self) -> String {
        self.simulator.endpoint().as_str().trim_end_matches('/').to_owned()
    }

    pub fn put(&self, record: &Value) {
        self.simulator.update(record.to_string().as_bytes()).unwrap();
    }
}

/// A small record: so many sessions with a segment, a medium and a stream each.
pub fn record(id: &str, version: i64, start: DateTime<Utc>, sessions: usize) -> Value {
    let at = |minutes: i64| {
        (start + chrono::TimeDelta::minutes(minutes)).to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    };
    let user = |n: usize| format!("{n:08}-aaaa-4aaa-8aaa-aaaaaaaaaaaa");
    let session = |n: usize| {
        let caller = json!({
            "@odata.type": "#microsoft.graph.callRecords.participantEndpoint",
            "userAgent": {"@odata.type": "#microsoft.graph.callRecords.clientUserAgent", "platform": "windows", "productFamily": "teams"},
            "associatedIdentity": {"id": user(n), "displayName": format!("Person {n}"), "tenantId": TENANT, "userPrincipalName": format!("p{n}@contoso.example")},
        });
        let session_id = format!("{n:08}-bbbb-4bbb-8bbb-bbbbbbbbbbbb");
        json!({
            "id": session_id, "modalities": ["audio"], "startDateTime": at(0), "endDateTime": at(10), "caller": caller,
            "callee": {"@odata.type": "#microsoft.graph.callRecords.serviceEndpoint", "userAgent": {"headerValue": null}},
            "segments": [{
                "id": session_id, "startDateTime": at(0), "endDateTime": at(10),
                "media": [{"label": "main-audio", "callerNetwork": {"ipAddress": "192.0.2.7", "connectionType": "wifi"},
                    "streams": [{"streamId": "1", "streamDirection": "callerToCallee", "averageJitter": "PT0.016S", "packetUtilization": 5000 + version}]}],
            }],
        })
    };
    json!({
        "id": id, "version": version, "type": "groupCall", "modalities": ["audio"],
        "startDateTime": at(0), "endDateTime": at(10), "lastModifiedDateTime": at(30 + version), "joinWebUrl": null,
        "organizer_v2": {"id": user(0), "identity": {"user": {"id": user(0), "displayName": "Person 0", "tenantId": TENANT}}},
        "participants_v2": (0..sessions).map(|n| json!({"id": user(n), "identity": {"user": {"id": user(n), "displayName": format!("Person {n}")}}})).collect::<Vec<_>>(),
        "sessions": (0..sessions).map(session).collect::<Vec<_>>(),
    })
}

/// A record that flatten refuses: its start is no instant.
pub fn refused(id: &str, start: DateTime<Utc>) -> Value {
    let mut record = record(id, 1, start, 1);
    record["startDateTime"] = json!("no instant");
    record["@callrec.simulator"] = json!({"start": start.to_rfc3339()});
    record
}

/// The id of the n-th test call.
pub fn call_id(n: u32) -> String {
    format!("{n:08}-0000-4000-8000-000000000000")
}

/// Some days before now, at noon: old enough to be there, young enough to be kept.
pub fn days_ago(days: i64) -> DateTime<Utc> {
    let today = Clock::system().today();
    (today - chrono::TimeDelta::days(days)).and_hms_opt(12, 0, 0).unwrap().and_utc()
}
