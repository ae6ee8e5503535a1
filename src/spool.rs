//! What was fetched and is in no commit yet: checksummed frames on disk.
//!
//! `_callrec/spool/<n>/` belongs to the commit with number `n` that is not
//! written yet. `intent.json` comes first and says up to where in every log the
//! run has collected; then records are appended to `frames`. After a crash the
//! frames are cut at the first bad one, and the rest spares asking Graph again.
//!
//! What is fetched while the commit before is still being made has no number yet:
//! it stands in `_callrec/spool/ahead` until the commit is published. A crash
//! before that loses it, which costs requests.

use crate::call_id::CallId;
use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use crate::notifications::LogCursor;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"CRF1";
const FRAME_HEAD: usize = 16;
/// The file of what is fetched ahead; the next start removes it.
const AHEAD: &str = "ahead";

/// What a run had collected when it began to fetch.
#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    number: u64,
    cursors: Vec<LogCursor>,
}

/// What a frame says of its record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// The id that was asked for.
    pub call_id: CallId,
    /// The version that was served.
    pub version: i64,
    /// The clock of the run when it was served.
    pub fetched_at: DateTime<Utc>,
}

/// A record in the spool.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What is known of it.
    pub stamp: Stamp,
    /// Where its bytes begin in the file of frames.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// A file of frames that is appended to.
#[derive(Debug)]
struct Frames {
    path: PathBuf,
    file: File,
    end: u64,
    frames: Vec<Frame>,
}

/// Records fetched ahead, before the commit before theirs is published.
#[derive(Debug)]
pub struct Ahead(Frames);

/// The spool of one commit that is not written yet.
#[derive(Debug)]
pub struct Spool {
    number: u64,
    cursors: Vec<LogCursor>,
    frames: Frames,
}

/// Where a record that was fetched is kept.
pub trait Keep {
    /// Appends a record.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    fn append(&mut self, stamp: Stamp, record: &[u8]) -> Result<()>;
}

impl Keep for Ahead {
    fn append(&mut self, stamp: Stamp, record: &[u8]) -> Result<()> {
        self.0.append(stamp, record)
    }
}

impl Keep for Spool {
    fn append(&mut self, stamp: Stamp, record: &[u8]) -> Result<()> {
        self.frames.append(stamp, record)
    }
}

impl Ahead {
    /// Drops what was fetched ahead.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn discard(spools: &Path) -> Result<()> {
        files::remove_if_there(&spools.join(AHEAD)).map(drop)
    }

    /// Begins with nothing.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn begin(spools: &Path) -> Result<Self> {
        Self::discard(spools)?;
        let path = spools.join(AHEAD);
        Ok(Self(Frames { file: files::append_file(&path, PRIVATE)?, path, end: 0, frames: Vec::new() }))
    }
}

impl Spool {
    /// Begins the spool of commit `number`, or goes on with what a killed run
    /// left of it: while there are frames, their intent stays as it is.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn begin(spools: &Path, number: u64, cursors: &[LogCursor]) -> Result<Self> {
        if let Some(spool) = Self::leftover(spools, number)?
            && !spool.frames().is_empty()
        {
            return Ok(spool);
        }
        let path = Self::make(spools, number, cursors)?;
        let file = files::append_file(&path, PRIVATE)?;
        let frames = Frames { path, file, end: 0, frames: Vec::new() };
        Ok(Self { number, cursors: cursors.to_vec(), frames })
    }

    /// Begins the spool of commit `number` with what was fetched ahead, now that
    /// the commit before it is published.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn adopt(spools: &Path, number: u64, cursors: &[LogCursor], ahead: Ahead) -> Result<Self> {
        let path = Self::make(spools, number, cursors)?;
        let Ahead(mut frames) = ahead;
        files::rename(&frames.path, &path)?;
        crash_point("spool::adopted")?;
        frames.path = path;
        Ok(Self { number, cursors: cursors.to_vec(), frames })
    }

    /// Makes an empty spool with its intent, and gives the path of its frames.
    fn make(spools: &Path, number: u64, cursors: &[LogCursor]) -> Result<PathBuf> {
        let directory = directory(spools, number);
        files::remove_directory(&directory)?;
        files::create_directory(&directory, PRIVATE)?;
        let intent = Intent { number, cursors: cursors.to_vec() };
        let bytes = serde_json::to_vec(&intent)
            .map_err(|e| Error::config("Cannot write the intent of the spool").because(e))?;
        crash_point("spool::begun")?;
        files::write_atomically_past(&directory.join("intent.json"), &bytes, PRIVATE, "intent::renaming")?;
        crash_point("intent::written")?;
        Ok(directory.join("frames"))
    }

    /// What a killed run left for commit `number`; without an intent, nothing.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn leftover(spools: &Path, number: u64) -> Result<Option<Self>> {
        let directory = directory(spools, number);
        let intent = files::read_if_there(&directory.join("intent.json"))?
            .and_then(|bytes| serde_json::from_slice::<Intent>(&bytes).ok())
            .filter(|intent| intent.number == number);
        let Some(intent) = intent else {
            files::remove_directory(&directory)?;
            return Ok(None);
        };
        let path = directory.join("frames");
        let file = files::append_file(&path, PRIVATE)?;
        let (frames, end) = read_frames(&path)?;
        file.set_len(end).map_err(|e| Error::io("cut", &path, e))?;
        crash_point("spool::cut")?;
        let frames = Frames { path, file, end, frames };
        Ok(Some(Self { number, cursors: intent.cursors, frames }))
    }

    /// Copies the spool for a later commit, because this one's number is taken
    /// by a change that holds none of its records. Until that change is
    /// committed this spool counts, afterwards the copy does.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn copy_for(&self, spools: &Path, number: u64) -> Result<()> {
        files::remove_directory(&directory(spools, number))?;
        let mut copy = Self::begin(spools, number, &self.cursors)?;
        for frame in self.frames() {
            copy.append(frame.stamp.clone(), &read_record(self.frames_path(), frame)?)?;
        }
        Ok(())
    }

    /// The number of the commit that this is for.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Up to where in every log the run that began this had collected.
    #[must_use]
    pub fn cursors(&self) -> &[LogCursor] {
        &self.cursors
    }

    /// The records, in the order in which they came.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames.frames
    }

    /// The file that holds the bytes of the records.
    #[must_use]
    pub fn frames_path(&self) -> &Path {
        &self.frames.path
    }
}

impl Frames {
    fn append(&mut self, stamp: Stamp, record: &[u8]) -> Result<()> {
        let header = serde_json::to_vec(&stamp)
            .map_err(|e| Error::config("Cannot write the header of a spooled record").because(e))?;
        let too_large = |_| Error::config("A record is larger than a frame of the spool can be");
        let header_length = u32::try_from(header.len()).map_err(too_large)?;
        let length = u32::try_from(record.len()).map_err(too_large)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header_length.to_le_bytes());
        crc.update(&length.to_le_bytes());
        crc.update(&header);
        crc.update(record);
        let mut frame = Vec::with_capacity(FRAME_HEAD + header.len());
        frame.extend_from_slice(MAGIC);
        frame.extend_from_slice(&header_length.to_le_bytes());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&crc.finalize().to_le_bytes());
        frame.extend_from_slice(&header);
        // A frame that is not written to its end is cut by whoever reads it.
        let written = self.file.write_all(&frame).and_then(|()| self.file.write_all(record));
        written.map_err(|e| Error::io("write", &self.path, e))?;
        let offset = self.end + frame.len() as u64;
        self.end = offset + u64::from(length);
        self.frames.push(Frame { stamp, offset, length: u64::from(length) });
        crash_point("spool::frame")?;
        Ok(())
    }
}

/// The directory of the spool of commit `number`.
#[must_use]
pub fn directory(spools: &Path, number: u64) -> PathBuf {
    spools.join(format!("{number:06}"))
}

/// Reads frames up to the first bad one, and says where that begins.
fn read_frames(path: &Path) -> Result<(Vec<Frame>, u64)> {
    let fail = |e| Error::io("read", path, e);
    let file = files::open(path)?;
    let size = file.metadata().map_err(fail)?.len();
    let mut reader = BufReader::new(file);
    let (mut frames, mut end) = (Vec::new(), 0_u64);
    loop {
        let mut head = [0; FRAME_HEAD];
        if size - end < FRAME_HEAD as u64 {
            return Ok((frames, end));
        }
        reader.read_exact(&mut head).map_err(fail)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (header_length, length) = (u64::from(number(4)), u64::from(number(8)));
        if &head[..4] != MAGIC || size - end - (FRAME_HEAD as u64) < header_length + length {
            return Ok((frames, end));
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head[4..12]);
        let mut header = vec![0; usize::try_from(header_length).unwrap_or(usize::MAX)];
        reader.read_exact(&mut header).map_err(fail)?;
        crc.update(&header);
        let mut left = length;
        let mut buffer = [0; 1 << 16];
        while left > 0 {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            reader.read_exact(&mut buffer[..take]).map_err(fail)?;
            crc.update(&buffer[..take]);
            left -= take as u64;
        }
        let stamp = serde_json::from_slice(&header).ok().filter(|_| crc.finalize() == number(12));
        let Some(stamp) = stamp else { return Ok((frames, end)) };
        let offset = end + FRAME_HEAD as u64 + header_length;
        frames.push(Frame { stamp, offset, length });
        end = offset + length;
    }
}

/// Reads the bytes of one frame.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn read_record(path: &Path, frame: &Frame) -> Result<Vec<u8>> {
    let mut file = files::open(path)?;
    let mut bytes = vec![0; usize::try_from(frame.length).unwrap_or(usize::MAX)];
    file.seek(SeekFrom::Start(frame.offset))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(|e| Error::io("read", path, e))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(n: u128) -> Stamp {
        let call_id = uuid::Uuid::from_u128(n).to_string().parse().unwrap();
        Stamp { call_id, version: 1, fetched_at: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn frames_are_cut_at_the_first_bad_one() {
        let home = tempfile::tempdir().unwrap();
        let mut spool = Spool::begin(home.path(), 7, &[]).unwrap();
        for n in 0..3 {
            spool.append(stamp(n), format!("record {n}").as_bytes()).unwrap();
        }
        let path = spool.frames_path().to_owned();
        let whole = std::fs::read(&path).unwrap();
        let third = usize::try_from(spool.frames()[2].offset).unwrap();
        for damaged in [whole[..whole.len() - 1].to_vec(), {
            let mut bytes = whole.clone();
            bytes[third] ^= 1;
            bytes
        }] {
            std::fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap().write_all(&damaged).unwrap();
            let mut left = Spool::leftover(home.path(), 7).unwrap().unwrap();
            assert_eq!(left.frames().len(), 2);
            assert_eq!(read_record(&path, &left.frames()[1]).unwrap(), b"record 1");
            left.append(stamp(9), b"record 2").unwrap();
            let again = Spool::leftover(home.path(), 7).unwrap().unwrap();
            assert_eq!(again.frames().len(), 3);
            assert_eq!(read_record(&path, &again.frames()[2]).unwrap(), b"record 2");
        }
    }

    #[test]
    fn what_was_fetched_ahead_is_the_next_spool() {
        let home = tempfile::tempdir().unwrap();
        let mut ahead = Ahead::begin(home.path()).unwrap();
        ahead.append(stamp(1), b"record 1").unwrap();
        assert!(Spool::leftover(home.path(), 7).unwrap().is_none());
        let mut spool = Spool::adopt(home.path(), 7, &[], ahead).unwrap();
        spool.append(stamp(2), b"record 2").unwrap();
        let left = Spool::leftover(home.path(), 7).unwrap().unwrap();
        assert_eq!(left.frames().len(), 2);
        assert_eq!(read_record(left.frames_path(), &left.frames()[1]).unwrap(), b"record 2");
        assert_eq!(files::list(home.path()).unwrap(), [directory(home.path(), 7)]);
    }

    #[test]
    fn without_an_intent_nothing_is_left() {
        let home = tempfile::tempdir().unwrap();
        let mut spool = Spool::begin(home.path(), 7, &[]).unwrap();
        spool.append(stamp(1), b"{}").unwrap();
        files::remove_if_there(&directory(home.path(), 7).join("intent.json")).unwrap();
        assert!(Spool::leftover(home.path(), 7).unwrap().is_none());
        assert!(!directory(home.path(), 7).exists());
    }
}
