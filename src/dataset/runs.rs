//! Runs: files of values, which are read again in the order in which they were
//! written.

use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Bytes of a run's file that are in memory.
const BUFFER: usize = 1 << 15;

/// What can be sorted and written. The order is total: values that are equal are
/// the same.
pub trait Packed: Ord + Sized {
    /// Appends the value as bytes.
    fn pack(&self, bytes: &mut Vec<u8>);
    /// The value of these bytes; `None` where [`Packed::pack`] gave no such ones.
    fn unpack(bytes: &[u8]) -> Option<Self>;
    /// Bytes that it has on the heap.
    fn on_heap(&self) -> usize;
}

/// Takes `N` bytes from the front.
pub fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// A file of values.
pub struct Run {
    /// Where it is.
    pub path: PathBuf,
    /// How many.
    pub values: u64,
}

/// Writes a run.
pub struct RunWriter {
    file: BufWriter<File>,
    path: PathBuf,
    values: u64,
    bytes: u64,
    packed: Vec<u8>,
}

impl RunWriter {
    /// Begins a new private file.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn create(path: PathBuf) -> Result<Self> {
        files::create_directory(path.parent().unwrap_or(Path::new("")), PRIVATE)?;
        let file = BufWriter::with_capacity(BUFFER, files::create_file(&path, PRIVATE)?);
        Ok(Self { file, path, values: 0, bytes: 0, packed: Vec::new() })
    }

    /// Appends a value, and gives the place where it begins.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn write(&mut self, value: &impl Packed) -> Result<u64> {
        self.packed.clear();
        self.packed.extend([0; 4]);
        value.pack(&mut self.packed);
        let length = u32::try_from(self.packed.len() - 4).unwrap_or(u32::MAX);
        self.packed[..4].copy_from_slice(&length.to_le_bytes());
        self.file.write_all(&self.packed).map_err(|e| Error::io("write", &self.path, e))?;
        self.values += 1;
        self.bytes += self.packed.len() as u64;
        Ok(self.bytes - self.packed.len() as u64)
    }

    /// Ends the file. It is not synced: nobody reads it after a crash.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn finish(mut self) -> Result<Run> {
        self.file.flush().map_err(|e| Error::io("write", &self.path, e))?;
        Ok(Run { path: self.path, values: self.values })
    }
}

/// Reads values of a run.
pub struct RunReader<T> {
    file: BufReader<File>,
    path: PathBuf,
    left: u64,
    packed: Vec<u8>,
    of: PhantomData<T>,
}

impl<T: Packed> RunReader<T> {
    /// Of so many values from `place` on.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn open(path: &Path, place: u64, values: u64) -> Result<Self> {
        let mut file = BufReader::with_capacity(BUFFER, files::open(path)?);
        file.seek(SeekFrom::Start(place)).map_err(|e| Error::io("read", path, e))?;
        Ok(Self { file, path: path.to_owned(), left: values, packed: Vec::new(), of: PhantomData })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read(&mut self) -> std::io::Result<T> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        self.packed.resize(usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX), 0);
        self.file.read_exact(&mut self.packed)?;
        T::unpack(&self.packed).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }
}

impl<T: Packed> Iterator for RunReader<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read().map_err(|e| Error::io("read", &self.path, e)))
    }
}
