//! The contents of an output directory, to be put back as often as wanted.
#![allow(dead_code, unreachable_pub, clippy::disallowed_methods, clippy::unwrap_used, reason = "test support")]

use crate::support::visit;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// A file's bytes, or `None` for a directory, by path below the root.
pub type Tree = BTreeMap<String, Option<Arc<Vec<u8>>>>;

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

/// Makes `root` hold exactly `tree`.
pub fn restore(root: &Path, tree: &Tree) {
    let _ = fs::remove_dir_all(root);
    fs::create_dir_all(root).unwrap();
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
