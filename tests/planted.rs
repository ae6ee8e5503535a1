//! Links, FIFOs and files in the way, planted below the output root: no command
//! writes outside it, none waits for ever, each works or says what is there.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panics and plant files as they like")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use support::{Ended, Graph, Place, call_id, days_ago, record, refused};

/// Far more than any command here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    /// A symbolic link to a file outside.
    FileLink,
    /// A symbolic link to a directory outside.
    DirectoryLink,
    /// A symbolic link to a place outside where nothing is yet.
    Dangling,
    /// A second name of a file outside.
    HardLink,
    Fifo,
    Directory,
}
use Plant::{Dangling, Directory, DirectoryLink, Fifo, FileLink, HardLink};

/// A dataset with one commit, a quarantine and two calls, and new work for the
/// next run; beside it a directory that nothing may touch.
struct Scene {
    place: Place,
    outside: PathBuf,
    _graph: Graph,
}

fn graph() -> Graph {
    let graph = Graph::empty();
    graph.put(&record(&call_id(1), 1, days_ago(1), 1));
    graph.put(&record(&call_id(2), 1, days_ago(2), 1));
    graph.put(&refused(&call_id(3), days_ago(1)));
    graph
}

impl Scene {
    fn begin() -> Self {
        let graph = graph();
        let place = Place::new(&graph.endpoint(), "");
        place.notify([1, 2, 3].map(call_id).iter().map(String::as_str));
        place.callrec(&["run"]).expect(3);
        graph.put(&record(&call_id(1), 2, days_ago(1), 2));
        graph.put(&record(&call_id(4), 1, days_ago(1), 1));
        place.notify([1, 4].map(call_id).iter().map(String::as_str));
        copy(&place.root(), &place.path("saved"));
        let outside = place.path("outside");
        let scene = Self { place, outside, _graph: graph };
        scene.reset();
        scene
    }

    /// Puts everything back to where it began.
    fn reset(&self) {
        let root = self.place.root();
        if fs::symlink_metadata(&root).is_ok() {
            fs::remove_dir_all(&root).unwrap();
        }
        copy(&self.place.path("saved"), &root);
        let _ = fs::remove_dir_all(&self.outside);
        fs::create_dir_all(self.outside.join("call_date=2026-01-01")).unwrap();
        for name in ["file", "000009.json", "frames", "call_date=2026-01-01/part-000001.parquet"] {
            fs::write(self.outside.join(name), format!("canary {name}\n").repeat(9)).unwrap();
        }
    }

    fn plant(&self, plant: Plant, name: &str) {
        let path = self.place.root().join(name);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        }
        let _ = fs::remove_file(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match plant {
            FileLink => symlink(self.outside.join("file"), path).unwrap(),
            DirectoryLink => symlink(&self.outside, path).unwrap(),
            Dangling => symlink(self.outside.join("new"), path).unwrap(),
            HardLink => fs::hard_link(self.outside.join("file"), path).unwrap(),
            Fifo => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
            Directory => fs::create_dir(path).unwrap(),
        }
    }

    /// All that is outside: names, contents, modes and times of change.
    fn canaries(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32, i64, i64)> {
        let mut seen = BTreeMap::new();
        let mut note = |path: &Path| {
            let about = fs::symlink_metadata(path).unwrap();
            let bytes = if about.is_dir() { Vec::new() } else { fs::read(path).unwrap() };
            seen.insert(path.to_owned(), (bytes, about.mode(), about.mtime(), about.mtime_nsec()));
        };
        note(&self.outside);
        note(&self.outside.join("call_date=2026-01-01"));
        support::visit(&self.outside, &mut note);
        seen
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// As [`Place::callrec`], but what does not end is killed and fails the test.
fn bounded(place: &Place, arguments: &[&str]) -> Ended {
    let mut child = place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (sender, receiver) = mpsc::channel();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    std::thread::spawn(move || {
        let (mut out, mut err) = (String::new(), String::new());
        stderr.read_to_string(&mut err).unwrap();
        stdout.read_to_string(&mut out).unwrap();
        let _ = sender.send((out, err));
    });
    let printed = receiver.recv_timeout(LIMIT);
    if printed.is_err() {
        child.kill().unwrap();
    }
    let code = child.wait().unwrap().code().unwrap_or(-1);
    let (stdout, stderr) = printed.unwrap_or_else(|_| panic!("callrec {arguments:?} does not end"));
    Ended { code, stdout, stderr }
}

/// Where, what, and how a run ends then.
fn cases(date: &str) -> Vec<(String, Plant, i32)> {
    let mut cases = Vec::new();
    let mut add = |name: &str, plants: &[Plant], code: i32| {
        cases.extend(plants.iter().map(|plant| (name.to_owned(), *plant, code)));
    };
    add("_callrec", &[DirectoryLink, Dangling, Fifo], 78);
    for directory in ["commits", "spool", "staging", "quarantine", "alerts"] {
        add(&format!("_callrec/{directory}"), &[DirectoryLink, Dangling, FileLink, Fifo], 78);
    }
    for table in ["calls", "raw", "ledger", "runs", "pstn_calls", "raw/pstn_calls"] {
        add(table, &[DirectoryLink, Dangling, Fifo], 78);
    }
    add(&format!("calls/call_date={date}"), &[DirectoryLink, Dangling, Fifo], 78);
    add("raw/call_date=2020-01-01", &[DirectoryLink, Dangling, Fifo], 78);
    add("runs/run_month=2020-01", &[DirectoryLink, Dangling, Fifo], 78);
    // Nothing depends on it: no run fails for it.
    add("runs/run_month=2020-01/runs.parquet", &[FileLink, Dangling, Fifo, Directory], 3);
    add("runs/run_month=2020-01/runs.parquet", &[HardLink], 0);
    add("_callrec/staging/runs.parquet", &[FileLink, Dangling, HardLink, Fifo, Directory], 0);
    add("_callrec/lock", &[FileLink, Dangling, HardLink, Fifo], 78);
    add("_callrec/lock", &[Directory], 74);
    add("_callrec/commits/000009.json", &[FileLink, Dangling, HardLink, Fifo], 78);
    add("_callrec/commits/000009.json", &[Directory], 78);
    add("_callrec/commits/000002.tmp", &[FileLink, DirectoryLink, Dangling, HardLink, Fifo], 0);
    add("_callrec/commits/000002.tmp", &[Directory], 74);
    add("_callrec/spool/000002", &[FileLink, DirectoryLink, Dangling, HardLink, Fifo], 0);
    add("_callrec/spool/000009", &[FileLink, DirectoryLink, Dangling, HardLink, Fifo, Directory], 0);
    add("_callrec/spool/000002/intent.json", &[FileLink, Dangling, Fifo], 78);
    add("_callrec/spool/000002/intent.json", &[HardLink], 0);
    add("_callrec/staging/000002", &[FileLink, DirectoryLink, Dangling, HardLink, Fifo, Directory], 0);
    add(&format!("calls/call_date={date}/part-000009.parquet"), &[FileLink, Dangling, Fifo], 78);
    add(&format!("raw/call_date={date}/000002.ndjson.zst"), &[FileLink, Dangling, HardLink, Fifo], 0);
    add(&format!("raw/call_date={date}/000002.ndjson.zst"), &[Directory], 74);
    add("_callrec/quarantine/000002.jsonl", &[FileLink, Dangling, HardLink, Fifo], 0);
    cases
}

#[test]
fn nothing_planted_leads_outside_or_hangs() {
    let date = days_ago(1).date_naive().to_string();
    let cases = cases(&date);
    std::thread::scope(|scope| {
        for cases in cases.chunks(cases.len().div_ceil(3)) {
            scope.spawn(|| {
                let scene = Scene::begin();
                cases.iter().for_each(|(name, plant, code)| try_all(&scene, name, *plant, *code));
            });
        }
    });
}

/// The readers first, then the run, then all that change the dataset; of the
/// plants that differ little only the run.
fn try_all(scene: &Scene, name: &str, plant: Plant, code: i32) {
    let call = call_id(2);
    let verbs: [&[&str]; 8] = [
        &["status"],
        &["quarantine", "list"],
        &["verify"],
        &["run"],
        &["compact"],
        &["rebuild"],
        &["purge", "--call", &call],
        &["quarantine", "retry"],
    ];
    let file = Path::new(name).file_name().unwrap().to_str().unwrap();
    let all = plant == DirectoryLink || plant == Fifo && (file.contains('.') || file == "lock");
    let verbs = if all { &verbs[..] } else { &verbs[3..4] };
    for arguments in verbs {
        let what = format!("{plant:?} at {name}, {arguments:?}");
        if *arguments == ["status"] || *arguments == ["run"] {
            scene.reset();
        }
        scene.plant(plant, name);
        let before = scene.canaries();
        let ended = bounded(&scene.place, arguments);
        if *arguments == ["run"] {
            assert_eq!(ended.code, code, "{what}: {}\n{}", ended.stderr, ended.stdout);
        }
        let said = [file, "There is no dataset", "A killed run left records"].iter().any(|s| ended.stderr.contains(s));
        assert!([0, 3, 74, 75, 78].contains(&ended.code), "{what}: {} {}", ended.code, ended.stderr);
        assert!(ended.code <= 3 || said, "{what}: {}", ended.stderr);
        assert!(scene.canaries() == before, "{what} changed what is outside");
    }
}

#[test]
fn a_spool_whose_frames_are_elsewhere_is_not_cut() {
    let scene = Scene::begin();
    for plant in [FileLink, HardLink, Dangling, Fifo] {
        scene.reset();
        let spool = scene.place.root().join("_callrec/spool/000002");
        fs::create_dir_all(&spool).unwrap();
        fs::write(spool.join("intent.json"), r#"{"number":2,"cursors":[]}"#).unwrap();
        scene.plant(plant, "_callrec/spool/000002/frames");
        let before = scene.canaries();
        for arguments in [&["run"][..], &["compact"], &["rebuild"]] {
            let ended = bounded(&scene.place, arguments).expect(78);
            assert!(ended.stderr.contains("frames"), "{plant:?}: {}", ended.stderr);
        }
        assert!(scene.canaries() == before, "{plant:?}");
        fs::remove_dir_all(spool).unwrap();
        assert_eq!(bounded(&scene.place, &["run"]).expect(0).summary()["exported_new"], 1);
    }
}

#[test]
fn what_a_user_names_replaces_no_other_file() {
    let scene = Scene::begin();
    let path = |name: &str| scene.place.path(name);
    fs::write(path("report.tmp"), "mine").unwrap();
    symlink(scene.outside.join("file"), path("report.json")).unwrap();
    let before = scene.canaries();
    scene.place.callrec(&["run", "--summary-file", path("report.json").to_str().unwrap()]).expect(0);
    assert!(fs::symlink_metadata(path("report.json")).unwrap().is_file(), "the link was replaced, not followed");
    fs::write(path("new.tmp"), "mine").unwrap();
    symlink(scene.outside.join("new"), path("new.toml")).unwrap();
    let ended = scene.place.callrec(&["init", path("new.toml").to_str().unwrap()]);
    assert!(ended.code == 2 || ended.code == 0, "{}", ended.stderr);
    assert!(scene.canaries() == before);
    for name in ["report.tmp", "new.tmp"] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), "mine");
    }
}

/// A command under a umask.
fn under(umask: &str, place: &Place, arguments: &[&str]) -> Ended {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_callrec"), "--config"]);
    command.arg(place.config()).args(arguments).current_dir(place.directory.path());
    support::ended(command)
}

/// The mode of everything below `root`, and `root`'s own, is what it must be.
fn check_modes(root: &Path, table_modes: (u32, u32), when: &str) {
    let check = |path: &Path| {
        let relative = path.strip_prefix(root).unwrap();
        let private = relative.starts_with("raw") || relative.starts_with("_callrec");
        let wanted = match (private, path.is_dir()) {
            (true, true) => 0o700,
            (true, false) => 0o600,
            (false, true) => table_modes.0,
            (false, false) => table_modes.1,
        };
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, wanted, "{} after {when}: {mode:o}", relative.display());
    };
    check(root);
    support::visit(root, &mut |path| {
        check(path);
        path.ancestors().skip(1).take_while(|d| d.starts_with(root)).for_each(check);
    });
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    for umask in ["000", "077", "0277"] {
        let graph = graph();
        let place = Place::new(&graph.endpoint(), "");
        place.notify([1, 2, 3].map(call_id).iter().map(String::as_str));
        place.append("no notification\n");
        let call = call_id(2);
        let date = days_ago(0).date_naive().to_string();
        let verbs: [(&[&str], i32); 8] = [
            (&["run", "--summary-file", "summary.json"], 3),
            (&["compact"], 0),
            (&["rebuild"], 0),
            (&["quarantine", "retry"], 3),
            (&["run"], 0),
            (&["purge", "--call", &call], 0),
            (&["verify"], 0),
            (&["purge", "--before", &date], 0),
        ];
        for (number, (arguments, code)) in verbs.into_iter().enumerate() {
            if number == 4 {
                graph.put(&record(&call_id(1), 2, days_ago(3), 2));
                place.notify([call_id(1).as_str()]);
            }
            under(umask, &place, arguments).expect(code);
            check_modes(&place.root(), (0o750, 0o640), &format!("{arguments:?} under umask {umask}"));
        }
        let private = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(private("summary.json"), 0o600);
        under(umask, &place, &["init", "new.toml"]).expect(0);
        assert_eq!(private("new.toml"), 0o600);
        let good = record(&call_id(1), 1, days_ago(1), 2).to_string();
        fs::write(place.path("calls.ndjson"), format!("{good}\nno record\n")).unwrap();
        under(umask, &place, &["flatten", "calls.ndjson", "--output", "deep/tables"]).expect(3);
        check_modes(&place.path("deep/tables"), (0o750, 0o640), "flatten");
        assert_eq!(private("deep"), 0o750);
    }
}

#[test]
fn a_mode_of_the_config_is_kept_and_private_directories_are_closed_again() {
    let graph = graph();
    let place = Place::new(&graph.endpoint(), "mode = \"0644\"\n");
    place.notify([1, 2].map(call_id).iter().map(String::as_str));
    under("077", &place, &["run"]).expect(0);
    check_modes(&place.root(), (0o755, 0o644), "run");
    // As a copy or a backup that was restored may be.
    for name in ["raw", "_callrec", "_callrec/spool", "_callrec/quarantine"] {
        fs::set_permissions(place.root().join(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    under("000", &place, &["run"]).expect(0);
    check_modes(&place.root(), (0o755, 0o644), "a run after a restore");
}
