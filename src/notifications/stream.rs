//! The bytes of one log, decoded, from one open file.

use super::capture;
use super::source::{Stat, stat_of};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of the head that tell one log from another.
pub(super) const HEAD_BYTES: u64 = 4096;

/// How the bytes of a log end for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At a border of the format, or not reached yet.
    Clean,
    /// In the middle of a compressed frame or a block: still being written.
    Torn,
    /// The compressed bytes are damaged.
    Damaged,
    /// It is Avro, but no capture of events.
    Foreign,
}

/// An open log that is not read yet.
pub(super) struct Log {
    file: File,
    path: PathBuf,
    /// What it was when it was opened.
    pub(super) stat: Stat,
    /// Whether offsets are not those of the file, because it is gzip, zstd or Avro.
    pub(super) compressed: bool,
    /// Whether it is Avro.
    pub(super) captured: bool,
}

impl Log {
    /// Opens a regular file; `None` if it is not there any more.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        let failed = |error| Error::io("read the notification log", path, error);
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(super::source::not_a_file(path));
        }
        let format = format(&mut file, path).map_err(failed)?;
        let (compressed, captured) = (format != Format::Plain, format == Format::Capture);
        Ok(Some(Self { file, path: path.to_owned(), stat: stat_of(path, &metadata), compressed, captured }))
    }

    /// The bytes from decoded `offset` on; a shorter log gives none.
    pub(super) fn read_from(&mut self, offset: u64) -> Result<Stream> {
        let start = || -> io::Result<Box<dyn BufRead>> {
            let format = format(&mut self.file, &self.path)?;
            let mut file = self.file.try_clone()?;
            file.seek(SeekFrom::Start(if format == Format::Plain { offset } else { 0 }))?;
            let file = BufReader::with_capacity(64 * 1024, file);
            Ok(match format {
                Format::Plain => Box::new(file),
                Format::Gzip => {
                    Box::new(BufReader::with_capacity(64 * 1024, flate2::bufread::MultiGzDecoder::new(file)))
                }
                Format::Zstd => Box::new(BufReader::with_capacity(64 * 1024, zstd::Decoder::with_buffer(file)?)),
                Format::Capture => Box::new(capture::Lines::new(file)),
            })
        };
        let mut start = start;
        let inner = start().map_err(|error| Error::io("read the notification log", &self.path, error))?;
        let mut stream = Stream { inner, path: self.path.clone(), end: End::Clean };
        if self.compressed {
            stream.pass(offset, |_| ())?;
        }
        Ok(stream)
    }

    /// The first `length` bytes, at most [`HEAD_BYTES`]; fewer if there are fewer.
    pub(super) fn head(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        self.read_from(0)?.pass(length.min(HEAD_BYTES), |bytes| head.extend_from_slice(bytes))?;
        Ok(head)
    }
}

#[derive(PartialEq, Eq)]
enum Format {
    Plain,
    Gzip,
    Zstd,
    /// Avro, as Event Hubs Capture writes it.
    Capture,
}

/// Tells the format by the first bytes. An Avro file whose first bytes are damaged
/// is still no log of lines: most of it would wait for a line feed.
fn format(file: &mut File, path: &Path) -> io::Result<Format> {
    file.seek(SeekFrom::Start(0))?;
    let mut magic = Vec::new();
    file.take(4).read_to_end(&mut magic)?;
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Format::Zstd,
        magic if capture::begins(magic) || !magic.is_empty() && capture::is_named(path) => Format::Capture,
        _ => Format::Plain,
    })
}

/// The decoded bytes of a log.
pub(super) struct Stream {
    inner: Box<dyn BufRead>,
    path: PathBuf,
    end: End,
}

impl Stream {
    /// How the log ends, once it gave no more bytes.
    pub(super) const fn end(&self) -> End {
        self.end
    }

    /// What is there next; empty at the end. A torn or damaged frame or block is an end.
    pub(super) fn chunk(&mut self) -> Result<&[u8]> {
        if self.end == End::Clean {
            loop {
                match self.inner.fill_buf() {
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error)
                        if error.raw_os_error().is_some_and(|code| code > 0)
                            && error.kind() != io::ErrorKind::UnexpectedEof =>
                    {
                        return Err(Error::io("read the notification log", &self.path, error));
                    }
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        self.end = End::Torn;
                        return Ok(&[]);
                    }
                    Err(error) => {
                        let foreign = error.kind() == io::ErrorKind::Unsupported;
                        self.end = if foreign { End::Foreign } else { End::Damaged };
                        return Ok(&[]);
                    }
                }
            }
            return self.inner.fill_buf().map_err(|error| Error::io("read the notification log", &self.path, error));
        }
        Ok(&[])
    }

    /// Goes on by `count` bytes of the last chunk.
    pub(super) fn consume(&mut self, count: usize) {
        self.inner.consume(count);
    }

    /// Gives the next `length` bytes to `see`; true if all were there.
    pub(super) fn pass(&mut self, length: u64, mut see: impl FnMut(&[u8])) -> Result<bool> {
        let mut left = length;
        while left > 0 {
            let chunk = self.chunk()?;
            let count = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return Ok(false);
            }
            see(chunk.get(..count).unwrap_or_default());
            self.consume(count);
            left -= count as u64;
        }
        Ok(true)
    }
}
