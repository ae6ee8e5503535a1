//! A disk that tells what is durable from what a process sees, and says what a
//! power loss can leave.
//!
//! Every change of a name or of a content is one step. What is not synced is
//! kept as a list of changes; a power loss keeps any of them that do not rest
//! on one that is lost. Names change atomically.

use super::content::{Content, Item};
use super::mixed::Mixed;
use super::path::Path;
use std::hash::{Hash, Hasher};

/// One step that changes the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A new directory, or a new file without its content.
    Put(Path, Item),
    /// What a file holds from now on.
    Fill(Path, Content),
    /// A file moves, over another if there is one.
    Rename(Path, Path),
    /// A file, or an empty directory, goes.
    Remove(Path),
    /// A directory goes with all that is in it. The model takes this as one
    /// step where what is left half removed is never read.
    RemoveTree(Path),
}

impl Change {
    /// Names that the change makes, replaces or removes.
    fn names(&self) -> [Option<Path>; 2] {
        match self {
            Self::Put(path, _) | Self::Remove(path) | Self::RemoveTree(path) => [Some(*path), None],
            Self::Rename(from, to) => [Some(*from), Some(*to)],
            Self::Fill(..) => [None, None],
        }
    }

    /// All paths that it is about.
    pub fn paths(&self) -> impl Iterator<Item = Path> {
        let filled = if let Self::Fill(path, _) = self { Some(*path) } else { None };
        self.names().into_iter().chain([filled]).flatten()
    }

    fn changes_name_in(&self, directory: Path, deep: bool) -> bool {
        self.names().into_iter().flatten().any(|path| path.parent(deep) == Some(directory))
    }
}

/// What stands where, sorted by path.
type Tree = Vec<(Path, Item)>;

fn get(tree: &Tree, path: Path) -> Option<&Item> {
    tree.binary_search_by(|(p, _)| p.cmp(&path)).ok().map(|at| &tree[at].1)
}

fn set(tree: &mut Tree, path: Path, item: Item) {
    match tree.binary_search_by(|(p, _)| p.cmp(&path)) {
        Ok(at) => tree[at].1 = item,
        Err(at) => tree.insert(at, (path, item)),
    }
}

fn take(tree: &mut Tree, path: Path) -> Option<Item> {
    tree.binary_search_by(|(p, _)| p.cmp(&path)).ok().map(|at| tree.remove(at).1)
}

fn apply(tree: &mut Tree, change: &Change, deep: bool) {
    match change {
        Change::Put(path, item) => set(tree, *path, item.clone()),
        Change::Fill(path, content) => {
            if let Ok(at) = tree.binary_search_by(|(p, _)| p.cmp(path)) {
                tree[at].1 = Item::File(content.clone());
            }
        }
        Change::Rename(from, to) => {
            if let Some(item) = take(tree, *from) {
                set(tree, *to, item);
            }
        }
        Change::Remove(path) => drop(take(tree, *path)),
        Change::RemoveTree(path) => tree.retain(|(p, _)| !p.is_below(*path, deep)),
    }
}

/// The disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Whether every directory of the real layout is there, or the few that
    /// the rules are about.
    pub deep: bool,
    now: Tree,
    durable: Tree,
    unsynced: Vec<Change>,
}

impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        self.durable == other.durable && self.unsynced == other.unsynced
    }
}

impl Hash for Disk {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // What a process sees follows from these two. Worlds are compared by
        // the million, in a build that is hardly optimised.
        let mut mixed = Mixed::default();
        self.durable.hash(&mut mixed);
        self.unsynced.hash(&mut mixed);
        state.write_u64(mixed.finish());
    }
}

impl Disk {
    /// A disk with these files and directories, all durable.
    pub fn new(deep: bool, items: impl IntoIterator<Item = (Path, Item)>) -> Self {
        let mut durable: Tree = items.into_iter().collect();
        durable.sort_by_key(|(path, _)| *path);
        Self { deep, now: durable.clone(), durable, unsynced: Vec::new() }
    }

    /// What stands at `path`, as a process sees it.
    pub fn get(&self, path: Path) -> Option<&Item> {
        if !self.deep && path.is_fixed() {
            return Some(&Item::Directory);
        }
        get(&self.now, path)
    }

    /// What a file holds; `None` if it is missing.
    pub fn content(&self, path: Path) -> Option<&Content> {
        match self.get(path)? {
            Item::File(content) => Some(content),
            Item::Directory => None,
        }
    }

    /// Everything a process sees.
    pub fn all(&self) -> impl Iterator<Item = (Path, &Item)> {
        self.now.iter().map(|(path, item)| (*path, item))
    }

    /// Whether a power loss could change anything.
    pub fn is_dirty(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Whether a sync of `path` would have an effect.
    pub fn has_unsynced(&self, path: Path) -> bool {
        self.unsynced.iter().any(|change| match change {
            Change::Fill(filled, _) => *filled == path,
            _ => change.changes_name_in(path, self.deep),
        })
    }

    /// Paths of work that changes are about which are not synced.
    pub fn unsynced_numbered(&self) -> impl Iterator<Item = Path> {
        self.unsynced.iter().flat_map(Change::paths).filter(|path| path.number().is_some())
    }

    /// Whether `path` stands there whatever happens.
    pub fn is_durable(&self, path: Path) -> bool {
        self.durably(path).is_some()
    }

    fn durably(&self, path: Path) -> Option<&Item> {
        let mut above = path.parent(self.deep).filter(|_| self.deep);
        while let Some(directory) = above {
            get(&self.durable, directory)?;
            above = directory.parent(true);
        }
        get(&self.durable, path)
    }

    /// Takes a step.
    pub fn step(&mut self, change: Change) {
        apply(&mut self.now, &change, self.deep);
        self.unsynced.push(change);
    }

    /// Syncs a file's content, or a directory's names.
    pub fn sync(&mut self, path: Path) {
        match self.get(path) {
            Some(Item::File(_)) => self.sync_file(path),
            Some(Item::Directory) => self.sync_directory(path),
            None => {}
        }
    }

    fn sync_file(&mut self, path: Path) {
        let Some(last) = self.unsynced.iter().rposition(|c| matches!(c, Change::Fill(p, _) if *p == path)) else {
            return;
        };
        let Change::Fill(_, content) = self.unsynced[last].clone() else { return };
        let put = self.unsynced.iter().rposition(|c| matches!(c, Change::Put(p, _) if *p == path));
        match put {
            Some(at) => self.unsynced[at] = Change::Put(path, Item::File(content)),
            None => set(&mut self.durable, path, Item::File(content)),
        }
        let mut index = 0;
        self.unsynced.retain(|change| {
            index += 1;
            !(matches!(change, Change::Fill(p, _) if *p == path) && put.is_none_or(|at| index > at))
        });
    }

    fn sync_directory(&mut self, directory: Path) {
        let mut chosen: Vec<bool> =
            self.unsynced.iter().map(|change| change.changes_name_in(directory, self.deep)).collect();
        for later in (0..chosen.len()).rev() {
            for earlier in 0..later {
                if chosen[later] && !chosen[earlier] && self.goes_with(later, earlier) {
                    chosen[earlier] = true;
                }
            }
        }
        let mut left: Vec<Change> = Vec::new();
        for (change, chosen) in std::mem::take(&mut self.unsynced).into_iter().zip(chosen) {
            if !chosen {
                left.push(change);
                continue;
            }
            apply(&mut self.durable, &change, self.deep);
            match change {
                // Content that is not synced goes with its file.
                Change::Rename(from, to) => {
                    for earlier in &mut left {
                        if let Change::Fill(path, _) = earlier
                            && *path == from
                        {
                            *path = to;
                        }
                    }
                }
                Change::Remove(path) | Change::RemoveTree(path) => {
                    left.retain(|c| !matches!(c, Change::Fill(p, _) if p.is_below(path, self.deep)));
                }
                Change::Put(..) | Change::Fill(..) => {}
            }
        }
        self.unsynced = left;
    }

    /// Whether the change at `later` cannot survive without the one at `earlier`.
    fn rests_on(&self, later: usize, earlier: usize) -> bool {
        let (later, earlier) = (&self.unsynced[later], &self.unsynced[earlier]);
        let (names, before) = (later.names(), earlier.names());
        if let Change::Fill(path, _) = later {
            return match earlier {
                Change::Fill(other, _) => other == path,
                _ => before.contains(&Some(*path)),
            };
        }
        let same = names.iter().flatten().any(|path| before.contains(&Some(*path)));
        let inside = self.is_inside(later, earlier);
        let emptied = matches!(later, Change::Remove(directory) | Change::RemoveTree(directory)
            if before.iter().flatten().any(|path| path.is_below(*directory, self.deep)));
        same || inside || emptied
    }

    /// Whether a change is about names in a directory that another one makes.
    fn is_inside(&self, later: &Change, earlier: &Change) -> bool {
        matches!(earlier, Change::Put(directory, Item::Directory)
            if later.names().iter().flatten().any(|path| path != directory && path.is_below(*directory, self.deep)))
    }

    /// Whether the change at `earlier` is synced with the one at `later`. A sync of
    /// a directory does not sync its own name. But a file that moves to
    /// another directory is at one end at least; and where a directory of that
    /// name was removed before, the model tells the two not apart.
    fn goes_with(&self, later: usize, earlier: usize) -> bool {
        let (change, before) = (&self.unsynced[later], &self.unsynced[earlier]);
        let moves = matches!(change, Change::Rename(from, to) if from.parent(self.deep) != to.parent(self.deep));
        let is_made_anew = || {
            let made = before.names();
            self.unsynced[..earlier]
                .iter()
                .any(|change| change.names().iter().flatten().any(|p| made.contains(&Some(*p))))
        };
        self.rests_on(later, earlier) && (moves || !self.is_inside(change, before) || is_made_anew())
    }

    /// Drops what stands in a directory that is not there.
    fn without_orphans(&self, tree: &mut Tree) {
        if !self.deep {
            return;
        }
        let mut kept: Vec<Path> = Vec::with_capacity(tree.len());
        // A directory comes before what is in it.
        tree.retain(|(path, _)| {
            let is_kept = path.parent(true).is_none_or(|parent| kept.binary_search(&parent).is_ok());
            if is_kept {
                kept.push(*path);
            }
            is_kept
        });
    }

    /// Every disk that a power loss can leave now. Of changes for which
    /// `is_settled` holds nothing depends: all of them that can survive do.
    pub fn power_losses(&self, is_settled: impl Fn(&Change) -> bool) -> Vec<Self> {
        let count = self.unsynced.len();
        let rests: Vec<Vec<usize>> =
            (0..count).map(|later| (0..later).filter(|&earlier| self.rests_on(later, earlier)).collect()).collect();
        let mut open: Vec<(Tree, Vec<bool>)> = vec![(self.durable.clone(), Vec::with_capacity(count))];
        for (change, rests) in self.unsynced.iter().zip(&rests) {
            for at in 0..open.len() {
                let (tree, kept) = &mut open[at];
                if !rests.iter().all(|&earlier| kept[earlier]) {
                    kept.push(false);
                    continue;
                }
                if !is_settled(change) {
                    let mut lost = (tree.clone(), kept.clone());
                    lost.1.push(false);
                    open.push(lost);
                }
                let (tree, kept) = &mut open[at];
                apply(tree, change, self.deep);
                kept.push(true);
            }
        }
        let whole = |mut tree: Tree| {
            self.without_orphans(&mut tree);
            self.only(tree)
        };
        open.into_iter().map(|(tree, _)| whole(tree)).collect()
    }

    /// A disk that holds `tree`, all of it durable.
    fn only(&self, tree: Tree) -> Self {
        Self { deep: self.deep, now: tree.clone(), durable: tree, unsynced: Vec::new() }
    }

    /// Forgets files that nothing reads any more, so that equal worlds are equal.
    pub fn forget(&mut self, is_forgotten: impl Fn(Path) -> bool) {
        self.now.retain(|(path, _)| !is_forgotten(*path));
        self.durable.retain(|(path, _)| !is_forgotten(*path));
        self.unsynced.retain(|change| match change {
            Change::Fill(path, _) => !is_forgotten(*path),
            _ => !change.names().into_iter().flatten().all(&is_forgotten),
        });
    }

    /// Whether a directory may be lost with what was synced in it.
    pub fn may_lose_directories(&self) -> bool {
        self.deep && self.unsynced.iter().any(|change| matches!(change, Change::Put(_, Item::Directory)))
    }

    /// Whether a rename that is not synced leads from a path for which this holds.
    pub fn moves_from(&self, is_from: impl Fn(Path) -> bool) -> bool {
        self.unsynced.iter().any(|change| matches!(change, Change::Rename(from, to) if is_from(*from) && !is_from(*to)))
    }

    /// What a file holds durably; `None` if it may be missing.
    pub fn durable_content(&self, path: Path) -> Option<&Content> {
        match self.durably(path)? {
            Item::File(content) => Some(content),
            Item::Directory => None,
        }
    }
}
