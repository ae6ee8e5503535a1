//! The system calls of a run that change files, as strace saw them, and a disk
//! that keeps after a power loss only what was synced.

use crate::scenario::Tree;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const CALLS: &str = "openat,creat,open,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,rename,renameat,\
    renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,sync_file_range,link,linkat,symlink,symlinkat,\
    copy_file_range,sendfile,splice,fallocate";

/// A change of a file or directory, named by its path below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Create(String),
    Truncate(String),
    Write(String, Arc<Vec<u8>>),
    Cut(String, u64),
    Rename(String, String),
    Remove(String),
    MakeDirectory(String),
    Sync(String),
}

/// Runs `command` under strace; its steps below `root`.
pub fn record(command: &Command, root: &Path, exit: &[i32]) -> Vec<Step> {
    let output = root.with_extension("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-xx", "-s", "1000000000", "-e", "signal=none", "-e"]).arg(format!("trace={CALLS}"));
    strace.arg("-o").arg(&output).arg("--").arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        strace.current_dir(directory);
    }
    let ended = strace.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("strace is installed");
    assert!(ended.code().is_some_and(|code| exit.contains(&code)), "the recorded run ended with {ended}");
    let text = std::fs::read_to_string(&output).unwrap();
    std::fs::remove_file(&output).unwrap();
    let mut unfinished: HashMap<&str, (&str, usize)> = HashMap::new();
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        let whole;
        let (call, begun_at) = if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (begun, steps.len()));
            continue;
        } else if call.starts_with("<... ") {
            let (begun, at) = unfinished.remove(thread).unwrap();
            whole = format!("{begun}{}", call.split_once(" resumed>").unwrap().1);
            (whole.as_str(), at)
        } else {
            (call, steps.len())
        };
        if let Some(step) = step(call, root) {
            // Several threads change files. What one of them syncs no other may change
            // meanwhile, or nobody could say what is on the disk.
            if let Step::Sync(path) = &step {
                let meanwhile = steps[begun_at..].iter().find(|other| other.changes(path));
                assert!(meanwhile.is_none(), "{path} is synced while another thread changes it");
            }
            steps.push(step);
        }
    }
    steps
}

impl Step {
    /// Whether it changes what a sync of `path` makes last.
    fn changes(&self, path: &str) -> bool {
        let within = |name: &String| name.rsplit_once('/').map_or("", |(above, _)| above) == path;
        match self {
            Self::Create(name) | Self::Truncate(name) => name == path || within(name),
            Self::Write(name, _) | Self::Cut(name, _) => name == path,
            Self::Rename(from, to) => within(from) || within(to),
            Self::Remove(name) | Self::MakeDirectory(name) => within(name),
            Self::Sync(_) => false,
        }
    }
}

fn step(call: &str, root: &Path) -> Option<Step> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    // Paths, in their order: of descriptors between < and >, of names in quotes.
    let below = |path: &Path| path.strip_prefix(root).ok().map(|p| p.display().to_string());
    let descriptor = |text: &str| -> Option<PathBuf> {
        let (_, path) = text.split_once('<')?;
        Some(PathBuf::from(text_of(path.split_once('>')?.0)))
    };
    let quoted: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
    let path_at = |index: usize| -> Option<PathBuf> {
        let path = PathBuf::from(text_of(quoted.get(index)?));
        if path.is_absolute() {
            return Some(path);
        }
        // Names are relative to the directory before them.
        let before = arguments.split('"').nth(2 * index)?;
        let start = before.rfind('<')?;
        Some(descriptor(&before[start..])?.join(path))
    };
    let name_at = |index: usize| path_at(index).and_then(|path| below(&path));
    let held = || descriptor(arguments).and_then(|path| below(&path));
    let only_looks = match name {
        "openat" | "open" => !["O_CREAT", "O_TRUNC", "O_WRONLY", "O_RDWR"].iter().any(|flag| arguments.contains(flag)),
        "fsync" | "fdatasync" => true,
        _ => false,
    };
    let changed = if matches!(name, "write" | "ftruncate") { descriptor(arguments) } else { path_at(0) };
    if let Some(path) = changed.filter(|path| !only_looks && path.is_absolute() && !path.starts_with("/dev")) {
        assert!(path.starts_with(root), "{name} outside the root: {}", path.display());
    }
    match name {
        "openat" | "open" | "creat" => {
            let path = name_at(0)?;
            if arguments.contains("O_TRUNC") || name == "creat" {
                return Some(Step::Truncate(path));
            }
            arguments.contains("O_CREAT").then_some(Step::Create(path))
        }
        "write" => Some(Step::Write(held()?, Arc::new(bytes_of(quoted.first()?)))),
        "ftruncate" => {
            let length = arguments.rsplit_once(", ")?.1.trim_end_matches(')').trim();
            Some(Step::Cut(held()?, length.parse().unwrap()))
        }
        "rename" | "renameat" | "renameat2" => Some(Step::Rename(name_at(0)?, name_at(1)?)),
        "unlink" | "unlinkat" | "rmdir" => Some(Step::Remove(name_at(0)?)),
        "mkdir" | "mkdirat" => Some(Step::MakeDirectory(name_at(0)?)),
        "fsync" | "fdatasync" => Some(Step::Sync(held()?)),
        _ => match held().or_else(|| name_at(0)) {
            Some(path) => panic!("{name} of {path} is not modelled"),
            None => None,
        },
    }
}

fn bytes_of(escaped: &str) -> Vec<u8> {
    let digits: Vec<u8> = escaped.split("\\x").skip(1).map(|hex| u8::from_str_radix(&hex[..2], 16).unwrap()).collect();
    assert_eq!(digits.len() * 4, escaped.len(), "strace wrote another form");
    digits
}

fn text_of(escaped: &str) -> String {
    if escaped.contains("\\x") { String::from_utf8(bytes_of(escaped)).unwrap() } else { escaped.to_owned() }
}

#[derive(Clone)]
enum Inode {
    File { now: Arc<Vec<u8>>, synced: Arc<Vec<u8>> },
    Directory { now: BTreeMap<String, usize>, synced: BTreeMap<String, usize> },
}

/// What of the unsynced survives.
pub enum Survives<'a> {
    /// All of it: the process was killed, not the machine.
    All,
    /// Nothing.
    Nothing,
    /// Names, but not what files hold.
    Names,
    /// Each name and each file by chance, files also in part.
    Chance(&'a mut ChaCha8Rng),
}

/// A file system that tells what is there now from what is synced.
#[derive(Clone)]
pub struct Disk {
    inodes: Vec<Inode>,
}

impl Disk {
    /// A disk that holds `tree`, all of it synced.
    pub fn new(tree: &Tree) -> Self {
        let empty = Inode::Directory { now: BTreeMap::new(), synced: BTreeMap::new() };
        let mut disk = Self { inodes: vec![empty] };
        for (path, node) in tree {
            match node {
                None => disk.apply(&Step::MakeDirectory(path.clone())),
                Some(bytes) => {
                    disk.apply(&Step::Create(path.clone()));
                    disk.apply(&Step::Write(path.clone(), bytes.clone()));
                }
            }
        }
        for number in 0..disk.inodes.len() {
            disk.sync(number);
        }
        disk
    }

    fn sync(&mut self, number: usize) {
        match &mut self.inodes[number] {
            Inode::File { now, synced } => *synced = now.clone(),
            Inode::Directory { now, synced } => synced.clone_from(now),
        }
    }

    fn find(&self, path: &str) -> Option<usize> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(0, |number, name| match &self.inodes[number] {
            Inode::Directory { now, .. } => now.get(name).copied(),
            Inode::File { .. } => None,
        })
    }

    fn entries(&mut self, path: &str) -> (&mut BTreeMap<String, usize>, String) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let number = self.find(parent).unwrap_or_else(|| panic!("no directory {parent}"));
        match &mut self.inodes[number] {
            Inode::Directory { now, .. } => (now, name.to_owned()),
            Inode::File { .. } => panic!("{parent} is a file"),
        }
    }

    fn add(&mut self, path: &str, inode: Inode) {
        self.inodes.push(inode);
        let number = self.inodes.len() - 1;
        let (entries, name) = self.entries(path);
        entries.insert(name, number);
    }

    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Create(path) => {
                if self.find(path).is_none() {
                    self.add(path, Inode::File { now: Arc::default(), synced: Arc::default() });
                }
            }
            Step::Truncate(path) => {
                self.apply(&Step::Create(path.clone()));
                self.apply(&Step::Cut(path.clone(), 0));
            }
            Step::Write(path, bytes) => {
                if let Some(now) = self.file(path) {
                    Arc::make_mut(now).extend_from_slice(bytes);
                }
            }
            Step::Cut(path, length) => {
                if let Some(now) = self.file(path) {
                    Arc::make_mut(now).truncate(usize::try_from(*length).unwrap());
                }
            }
            Step::Rename(from, to) => {
                let (entries, name) = self.entries(from);
                let number = entries.remove(&name).unwrap_or_else(|| panic!("no {from}"));
                let (entries, name) = self.entries(to);
                entries.insert(name, number);
            }
            Step::Remove(path) => {
                let (entries, name) = self.entries(path);
                entries.remove(&name);
            }
            Step::MakeDirectory(path) => {
                self.add(path, Inode::Directory { now: BTreeMap::new(), synced: BTreeMap::new() });
            }
            Step::Sync(path) => {
                if let Some(number) = self.find(path) {
                    self.sync(number);
                }
            }
        }
    }

    /// Whether what the step works on is there.
    pub fn can(&self, step: &Step) -> bool {
        let parent = |path: &str| self.find(path.rsplit_once('/').map_or("", |(parent, _)| parent)).is_some();
        match step {
            Step::Create(path) | Step::Truncate(path) | Step::Remove(path) => parent(path),
            Step::MakeDirectory(path) => parent(path) && self.find(path).is_none(),
            Step::Rename(from, to) => self.find(from).is_some() && parent(to),
            Step::Write(path, _) | Step::Cut(path, _) | Step::Sync(path) => self.find(path).is_some(),
        }
    }

    fn file(&mut self, path: &str) -> Option<&mut Arc<Vec<u8>>> {
        let number = self.find(path)?;
        match &mut self.inodes[number] {
            Inode::File { now, .. } => Some(now),
            Inode::Directory { .. } => panic!("{path} is a directory"),
        }
    }

    /// What is found after a power loss, or a kill.
    pub fn after(&self, survives: &mut Survives<'_>) -> Tree {
        let mut tree = Tree::new();
        let mut found = HashSet::new();
        self.collect(0, "", survives, &mut tree, &mut found);
        // A rename is one change: a file that it moves is at one end at least.
        let (mut synced, mut now) = (HashMap::new(), HashMap::new());
        self.places(0, "", true, &mut synced);
        self.places(0, "", false, &mut now);
        for (number, path) in synced {
            if now.contains_key(&number) && !found.contains(&number) {
                let mut above = String::new();
                for name in path.split('/').take(path.matches('/').count()) {
                    above = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
                    tree.entry(above.clone()).or_insert(None);
                }
                self.collect(number, &path, survives, &mut tree, &mut found);
            }
        }
        tree
    }

    /// Where every file stands in the synced or in the present names.
    fn places(&self, number: usize, path: &str, in_synced: bool, places: &mut HashMap<usize, String>) {
        match &self.inodes[number] {
            Inode::File { .. } => {
                places.insert(number, path.to_owned());
            }
            Inode::Directory { now, synced } => {
                for (name, &child) in if in_synced { synced } else { now } {
                    let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    self.places(child, &below, in_synced, places);
                }
            }
        }
    }

    fn collect(
        &self,
        number: usize,
        path: &str,
        survives: &mut Survives<'_>,
        tree: &mut Tree,
        found: &mut HashSet<usize>,
    ) {
        found.insert(number);
        match &self.inodes[number] {
            Inode::File { now, synced } => {
                let bytes = match survives {
                    Survives::All => now.clone(),
                    Survives::Nothing | Survives::Names => synced.clone(),
                    Survives::Chance(rng) => match rng.random_range(0..3) {
                        0 => now.clone(),
                        1 => synced.clone(),
                        _ if now.starts_with(synced) && now.len() > synced.len() => {
                            Arc::new(now[..rng.random_range(synced.len()..now.len())].to_vec())
                        }
                        _ => synced.clone(),
                    },
                };
                tree.insert(path.to_owned(), Some(bytes));
            }
            Inode::Directory { now, synced } => {
                if !path.is_empty() {
                    tree.insert(path.to_owned(), None);
                }
                let mut names: Vec<&String> = now.keys().chain(synced.keys()).collect();
                names.sort();
                names.dedup();
                for name in names {
                    let kept = match survives {
                        Survives::All | Survives::Names => now,
                        Survives::Nothing => synced,
                        Survives::Chance(rng) => {
                            if rng.random_bool(0.5) {
                                now
                            } else {
                                synced
                            }
                        }
                    };
                    if let Some(&child) = kept.get(name) {
                        let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                        self.collect(child, &below, survives, tree, found);
                    }
                }
            }
        }
    }
}
