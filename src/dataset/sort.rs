//! An external sort: any number of values in their order, with little memory.
//!
//! Values are held until they take a few MiB. Then they go, sorted, to a file: a
//! run. The runs are merged into one stream, in passes where there are many of
//! them, so that few files are open at once. Few values never touch the disk.

use super::runs::{Packed, Run, RunReader, RunWriter};
use crate::error::Result;
use crate::files;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::path::PathBuf;

/// Where runs lie, and how much is in memory before there is one.
#[derive(Clone, Debug)]
pub struct Scratch {
    directory: PathBuf,
    held_bytes: usize,
    runs_at_once: usize,
}

impl Scratch {
    /// Runs in `directory`, which is made with the first of them; who gave it
    /// removes it.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self::with_bounds(directory, 4 << 20, 64)
    }

    /// As [`Scratch::new`] with other bounds: bytes that a sort holds, and runs
    /// that are merged at once.
    #[must_use]
    pub fn with_bounds(directory: impl Into<PathBuf>, held_bytes: usize, runs_at_once: usize) -> Self {
        Self { directory: directory.into(), held_bytes, runs_at_once: runs_at_once.max(2) }
    }

    /// The path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Takes the values.
pub struct Sorter<T> {
    scratch: Scratch,
    name: &'static str,
    held: Vec<T>,
    held_bytes: usize,
    runs: VecDeque<Run>,
    made: u64,
}

impl<T: Packed> Sorter<T> {
    /// A sort whose runs are called `name`, as those of no other in `scratch`.
    #[must_use]
    pub fn new(scratch: &Scratch, name: &'static str) -> Self {
        Self { scratch: scratch.clone(), name, held: Vec::new(), held_bytes: 0, runs: VecDeque::new(), made: 0 }
    }

    /// Adds a value.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn push(&mut self, value: T) -> Result<()> {
        self.held_bytes += size_of::<T>() + value.on_heap();
        self.held.push(value);
        if self.held_bytes >= self.scratch.held_bytes { self.spill() } else { Ok(()) }
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.runs.is_empty()
    }

    fn spill(&mut self) -> Result<()> {
        self.held.sort_unstable();
        let mut run = self.begin()?;
        for value in self.held.drain(..) {
            run.write(&value)?;
        }
        self.held_bytes = 0;
        self.runs.push_back(run.finish()?);
        Ok(())
    }

    fn begin(&mut self) -> Result<RunWriter> {
        self.made += 1;
        RunWriter::create(self.scratch.path(&format!("{}-{}", self.name, self.made)))
    }

    /// The values in their order.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn finish(mut self) -> Result<Sorted<T>> {
        if self.runs.is_empty() {
            self.held.sort_unstable();
            return Sorted::new(vec![Cursor::Held(self.held.into_iter())]);
        }
        if !self.held.is_empty() {
            self.spill()?;
        }
        self.held = Vec::new();
        while self.runs.len() > self.scratch.runs_at_once {
            let some: Vec<Run> = self.runs.drain(..self.scratch.runs_at_once).collect();
            let mut merged = self.begin()?;
            for value in Sorted::<T>::of(some)? {
                merged.write(&value?)?;
            }
            self.runs.push_back(merged.finish()?);
        }
        Sorted::of(self.runs)
    }
}

/// The values in their order. Runs that were read to their end are removed.
pub struct Sorted<T> {
    cursors: Vec<Cursor<T>>,
    /// The least value of every cursor, with its number.
    least: BinaryHeap<Reverse<(T, usize)>>,
}

enum Cursor<T> {
    Held(std::vec::IntoIter<T>),
    Run(RunReader<T>),
}

impl<T: Packed> Sorted<T> {
    fn of(runs: impl IntoIterator<Item = Run>) -> Result<Self> {
        let open = |run: Run| RunReader::open(&run.path, 0, run.values).map(Cursor::Run);
        Self::new(runs.into_iter().map(open).collect::<Result<_>>()?)
    }

    fn new(mut cursors: Vec<Cursor<T>>) -> Result<Self> {
        let mut least = BinaryHeap::with_capacity(cursors.len());
        for (number, cursor) in cursors.iter_mut().enumerate() {
            if let Some(value) = cursor.advance()? {
                least.push(Reverse((value, number)));
            }
        }
        Ok(Self { cursors, least })
    }

    /// Whether the values were too many to be held.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.cursors.iter().any(|cursor| matches!(cursor, Cursor::Run(_)))
    }
}

impl<T: Packed> Iterator for Sorted<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let mut top = self.least.peek_mut()?;
        let number = top.0.1;
        match self.cursors[number].advance() {
            Ok(Some(value)) => Some(Ok(std::mem::replace(&mut top.0.0, value))),
            Ok(None) => Some(Ok(std::collections::binary_heap::PeekMut::pop(top).0.0)),
            Err(error) => {
                drop(top);
                self.least.clear();
                Some(Err(error))
            }
        }
    }
}

impl<T: Packed> Cursor<T> {
    fn advance(&mut self) -> Result<Option<T>> {
        match self {
            Self::Held(values) => Ok(values.next()),
            Self::Run(reader) => match reader.next().transpose()? {
                Some(value) => Ok(Some(value)),
                None => files::remove_if_there(reader.path()).map(|_| None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::runs::take;
    use proptest::prelude::*;
    use std::path::Path;

    impl Packed for u64 {
        fn pack(&self, bytes: &mut Vec<u8>) {
            bytes.extend(self.to_le_bytes());
        }

        fn unpack(mut bytes: &[u8]) -> Option<Self> {
            take(&mut bytes).map(Self::from_le_bytes)
        }

        fn on_heap(&self) -> usize {
            0
        }
    }

    fn sorter(home: &Path, held_bytes: usize, runs_at_once: usize, values: &[u64]) -> Sorter<u64> {
        let mut sorter = Sorter::new(&Scratch::with_bounds(home.join("runs"), held_bytes, runs_at_once), "n");
        values.iter().for_each(|&value| sorter.push(value).unwrap());
        sorter
    }

    proptest! {
        #[test]
        fn all_values_come_in_order_and_leave_no_run(
            values in prop::collection::vec(any::<u64>(), 0..400), held in 8_usize..200, at_once in 2_usize..6,
        ) {
            let home = tempfile::tempdir().unwrap();
            let sorted = sorter(home.path(), held, at_once, &values).finish().unwrap();
            prop_assert_eq!(sorted.is_on_disk(), values.len() * 8 >= held.next_multiple_of(8));
            prop_assert!(files::list(&home.path().join("runs")).unwrap().len() <= at_once);
            let found: Vec<u64> = sorted.map(Result::unwrap).collect();
            let mut expected = values;
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(files::list(&home.path().join("runs")).unwrap().len(), 0);
        }
    }

    #[test]
    fn few_values_never_touch_the_disk() {
        let home = tempfile::tempdir().unwrap();
        let sorted = sorter(home.path(), 1 << 20, 64, &[3, 1, 2]).finish().unwrap();
        assert!(!home.path().join("runs").exists());
        assert_eq!(sorted.map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_run_that_was_cut_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let sorted = sorter(home.path(), 80_000, 4, &(0..30_000).collect::<Vec<_>>()).finish().unwrap();
        let run = files::list(&home.path().join("runs")).unwrap().remove(0);
        let file = std::fs::OpenOptions::new().write(true).open(&run).unwrap();
        file.set_len(files::size(&run).unwrap() - 3).unwrap();
        let error = sorted.filter_map(Result::err).next().expect("an error");
        assert!(error.to_string().contains("n-"), "{error}");
    }
}
