//! A place whose output directory is put back as often as wanted, and what a
//! recovery must end in.

use crate::support::{Graph, Place};
use std::collections::BTreeMap;

#[path = "../../tests/support/scenario.rs"]
mod begin;
#[path = "../../tests/support/tree.rs"]
mod tree;

pub use tree::{Tree, read};

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
        tree::restore(&self.place.root(), tree);
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
