//! A place whose output directory is put back as often as wanted, and what a
//! recovery must end in.

use crate::support::{Graph, Place, visit};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

#[path = "../../tests/support/scenario.rs"]
mod begin;

/// A file's bytes, or `None` for a directory, by path below the root.
pub type Tree = BTreeMap<String, Option<Arc<Vec<u8>>>>;

pub struct Scenario {
    pub place: Place,
    /// The output directory before the run.
    pub before: Tree,
    expected: BTreeMap<String, (usize, String)>,
    _graph: Graph,
}

impl Scenario {
    pub fn begin() -> Self {
        let (graph, place) = begin::begin();
        let before = read(&place.root());
        place.callrec(&["run"]).expect(3);
        place.callrec(&["compact"]).expect(0);
        let expected = place.record_tables();
        let scenario = Self { place, before, expected, _graph: graph };
        scenario.restore(&scenario.before);
        scenario
    }

    /// Makes the output directory hold exactly `tree`.
    pub fn restore(&self, tree: &Tree) {
        let root = self.place.root();
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        for (name, node) in tree {
            let path = root.join(name);
            match node {
                None => fs::create_dir_all(path).unwrap(),
                Some(bytes) => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, bytes.as_slice()).unwrap();
                }
            }
        }
    }

    /// Lets a run recover, and says what is wrong afterwards.
    pub fn fault(&self) -> Option<String> {
        let run = self.place.callrec(&["run"]);
        if !matches!(run.code, 0 | 3) {
            return Some(format!("the run ended with {}: {}", run.code, run.stderr));
        }
        for command in ["verify", "compact"] {
            let ended = self.place.callrec(&[command]);
            if ended.code != 0 {
                return Some(format!("{command} ended with {}: {}{}", ended.code, ended.stdout, ended.stderr));
            }
        }
        let tables = self.place.record_tables();
        if tables != self.expected {
            let differ: Vec<_> =
                self.expected.iter().filter(|(k, v)| tables.get(*k) != Some(v)).map(|(k, _)| k).collect();
            return Some(format!("tables differ: {differ:?} of {} and {}", self.expected.len(), tables.len()));
        }
        let listed = self.place.callrec(&["quarantine", "list", "--format", "json"]);
        let items = listed.stdout.matches("\"item\"").count();
        (items != 1).then(|| format!("{items} items in quarantine"))
    }
}

/// Every file and directory below `root`.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    directories(root, root, &mut tree);
    visit(root, &mut |path| {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        tree.insert(name, Some(Arc::new(fs::read(path).unwrap())));
    });
    tree
}

fn directories(root: &Path, directory: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tree.insert(path.strip_prefix(root).unwrap().display().to_string(), None);
            directories(root, &path, tree);
        }
    }
}
