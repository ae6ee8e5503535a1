//! The archive: records as Graph served them, one JSON object a line, in
//! zstd-compressed segments `raw/call_date=<date>/<commit>.ndjson.zst`.
//!
//! The record tables are a pure function of it.

use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

const LEVEL: i32 = 3;

/// Writes one segment.
pub struct SegmentWriter {
    encoder: zstd::Encoder<'static, BufWriter<File>>,
    path: PathBuf,
    rows: u64,
}

impl SegmentWriter {
    /// Begins a new file.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn create(path: &Path) -> Result<Self> {
        let file = files::create_file(path, PRIVATE)?;
        let encoder = zstd::Encoder::new(BufWriter::new(file), LEVEL).map_err(|e| Error::io("compress", path, e))?;
        Ok(Self { encoder, path: path.to_owned(), rows: 0 })
    }

    /// Appends a record, which holds no line break.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn write(&mut self, record: &[u8]) -> Result<()> {
        self.encoder
            .write_all(record)
            .and_then(|()| self.encoder.write_all(b"\n"))
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.rows += 1;
        Ok(())
    }

    /// Ends the file, synced, and gives its number of records.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn finish(self) -> Result<u64> {
        let fail = |e| Error::io("write", &self.path, e);
        let mut writer = self.encoder.finish().map_err(fail)?;
        writer.flush().map_err(fail)?;
        writer.get_ref().sync_all().map_err(|e| Error::io("sync", &self.path, e))?;
        Ok(self.rows)
    }
}

/// Calls `each` with the offset and the bytes of every record of a segment.
/// Offsets count decompressed bytes.
///
/// # Errors
/// Any failure of the file system or of `each`; a damaged segment too.
pub fn read_segment(path: &Path, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let fail = |e| Error::io("read", path, e);
    let decoder = zstd::Decoder::new(files::open(path)?).map_err(fail)?;
    let mut reader = BufReader::with_capacity(1 << 17, decoder);
    let (mut line, mut offset) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(fail)?;
        if read == 0 {
            return Ok(());
        }
        let record = line.strip_suffix(b"\n").unwrap_or(&line);
        if !record.is_empty() {
            each(offset, record)?;
        }
        offset += read as u64;
    }
}

/// Decompresses a segment into a new private file.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn unpack_segment(path: &Path, to: &Path) -> Result<()> {
    let mut decoder = zstd::Decoder::new(files::open(path)?).map_err(|e| Error::io("read", path, e))?;
    let mut file = files::create_file(to, PRIVATE)?;
    std::io::copy(&mut decoder, &mut file).map_err(|e| Error::io("unpack", path, e))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_with_its_offsets() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("000001.ndjson.zst");
        let mut writer = SegmentWriter::create(&path).unwrap();
        writer.write(b"{\"a\":1}").unwrap();
        writer.write(b"{}").unwrap();
        assert_eq!(writer.finish().unwrap(), 2);
        let mut seen = Vec::new();
        read_segment(&path, |offset, record| {
            seen.push((offset, record.to_vec()));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(0, b"{\"a\":1}".to_vec()), (8, b"{}".to_vec())]);
        let plain = home.path().join("plain");
        unpack_segment(&path, &plain).unwrap();
        assert_eq!(std::fs::read(plain).unwrap(), b"{\"a\":1}\n{}\n");
    }
}
