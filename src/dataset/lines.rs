//! Records that stand one on a line: a file is read in pieces, each by itself.
//!
//! A line belongs to the piece in which it begins, and is read to its end. A
//! piece looks for the first line that begins in it only within itself, so that
//! no byte of a file is read more than twice, however long its lines are.

use crate::error::{Error, Result};
use crate::files;
use crate::flatten::{self, Head, MAX_RECORD_BYTES, Refused};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A UTF-8 byte order mark, as a file may begin with.
pub const MARK: &[u8] = b"\xef\xbb\xbf";

/// Where a record's bytes are, and its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it begins in its file.
    pub offset: u64,
    /// Its length in bytes, without the line break.
    pub length: u64,
    /// Its head, or why it has none.
    pub head: Result<Head, Refused>,
}

impl Found {
    /// The record at `offset`.
    #[must_use]
    pub fn new(offset: u64, record: &[u8]) -> Self {
        Self { offset, length: record.len() as u64, head: flatten::head(record) }
    }
}

/// Reads pieces, on several threads at once.
pub struct Lines {
    piece: u64,
    /// Bytes in which the head of a record mostly stands.
    head: usize,
    /// Lines of more bytes are read one at a time.
    large: usize,
    /// The longest record.
    limit: usize,
    one_large: Mutex<()>,
}

impl Default for Lines {
    fn default() -> Self {
        Self::with_bounds(8 << 20, 4 << 10, 4 << 20, MAX_RECORD_BYTES)
    }
}

impl Lines {
    /// With pieces of so many bytes. Of a line whose first `head` bytes tell where
    /// its record belongs no more is kept; others of over `large` bytes are read one
    /// at a time, and of records over `limit` no more than that is in memory.
    #[must_use]
    pub const fn with_bounds(piece: u64, head: usize, large: usize, limit: usize) -> Self {
        Self { piece, head, large, limit, one_large: Mutex::new(()) }
    }

    /// The pieces of a file of `size` bytes. The last has no end: a file may grow.
    pub fn pieces(&self, size: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let piece = self.piece;
        let last = size.saturating_sub(1) / piece;
        (0..=last).map(move |number| number * piece..if number == last { u64::MAX } else { (number + 1) * piece })
    }

    /// The records on the lines that begin in `piece`; blank lines are none.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn read(&self, path: &Path, piece: Range<u64>) -> Result<Vec<Found>> {
        let mut file = files::open(path)?;
        let mut found = Vec::new();
        let mut read = || -> io::Result<()> {
            let before = piece.start.saturating_sub(1);
            file.seek(SeekFrom::Start(before))?;
            let mut reader = BufReader::with_capacity(1 << 17, &mut file);
            let mut at = piece.start;
            if at > 0 {
                at = before + reader.by_ref().take(piece.end - before).skip_until(b'\n')? as u64;
            }
            let mut line = Vec::new();
            while at < piece.end {
                let Some(length) = self.line(&mut reader, &mut line, at, &mut found)? else { break };
                at += length;
            }
            Ok(())
        };
        read().map_err(|e| Error::io("read", path, e))?;
        Ok(found)
    }

    /// Reads the line at `offset`, and gives its length; `None` at the end.
    fn line(
        &self,
        reader: &mut BufReader<&mut File>,
        line: &mut Vec<u8>,
        offset: u64,
        found: &mut Vec<Found>,
    ) -> io::Result<Option<u64>> {
        line.clear();
        reader.by_ref().take(self.head as u64).read_until(b'\n', line)?;
        if let Some(length) = head_alone(reader, line, offset, self.limit as u64, found)? {
            return Ok(Some(length));
        }
        let keep = self.limit + MARK.len() + 1;
        let mut one_large = None;
        while line.len() < keep && !line.ends_with(b"\n") {
            if line.len() >= self.large && one_large.is_none() {
                one_large = Some(self.one_large.lock().unwrap_or_else(PoisonError::into_inner));
            }
            let step = self.large.min(keep - line.len());
            if one_large.is_some() {
                // A vector that grows by itself takes up to three times the line.
                line.reserve_exact(step);
            }
            if reader.by_ref().take(step as u64).read_until(b'\n', line)? == 0 {
                break;
            }
        }
        let mut length = line.len() as u64;
        let mark = if offset == 0 && line.starts_with(MARK) { MARK.len() } else { 0 };
        let mut end = None;
        if line.len() >= keep && !line.ends_with(b"\n") {
            let (more, text) = skip_line(reader)?;
            // Behind what is kept there is only white space, or the record is too long.
            end = text.map(|text| length + text);
            length += more;
        }
        let begin = offset + mark as u64;
        let record = line[mark..].trim_ascii_end();
        let record_length = end.unwrap_or((mark + record.len()) as u64) - mark as u64;
        if record_length > self.limit as u64 {
            found.push(Found { offset: begin, length: record_length, head: Err(Refused::TooLarge) });
        } else if !record.trim_ascii_start().is_empty() {
            found.push(Found::new(begin, record));
        }
        if one_large.is_some() {
            *line = Vec::new();
        }
        Ok((length > 0).then_some(length))
    }
}

/// Takes the record whose head stands in `begun`, the beginning of a line that goes
/// on: the rest is not kept. The length of the line, if that could be done.
fn head_alone(
    reader: &mut impl BufRead,
    begun: &[u8],
    offset: u64,
    limit: u64,
    found: &mut Vec<Found>,
) -> io::Result<Option<u64>> {
    let mark = if offset == 0 && begun.starts_with(MARK) { MARK.len() } else { 0 };
    let head = flatten::head(&begun[mark..]);
    if head.is_err() || begun.ends_with(b"\n") {
        return Ok(None);
    }
    let (more, text) = skip_line(reader)?;
    let text = text.map_or(begun.trim_ascii_end().len() as u64, |text| begun.len() as u64 + text);
    let length = text - mark as u64;
    let head = if length > limit { Err(Refused::TooLarge) } else { head };
    found.push(Found { offset: offset + mark as u64, length, head });
    Ok(Some(begun.len() as u64 + more))
}

/// Reads to the end of the line and keeps nothing: its length, and that without
/// white space at the end, if there is anything else.
fn skip_line(reader: &mut impl BufRead) -> io::Result<(u64, Option<u64>)> {
    let (mut length, mut text) = (0, None);
    loop {
        let bytes = match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let line_break = memchr::memchr(b'\n', bytes);
        let taken = line_break.map_or(bytes.len(), |at| at + 1);
        if let Some(last) = bytes[..taken].iter().rposition(|byte| !byte.is_ascii_whitespace()) {
            text = Some(length + last as u64 + 1);
        }
        reader.consume(taken);
        length += taken as u64;
        if taken == 0 || line_break.is_some() {
            return Ok((length, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::PRIVATE;
    use proptest::prelude::*;

    fn read(bytes: &[u8], lines: &Lines) -> Vec<Found> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("in.ndjson");
        files::write_atomically(&path, bytes, PRIVATE).unwrap();
        lines.pieces(bytes.len() as u64).flat_map(|piece| lines.read(&path, piece).unwrap()).collect()
    }

    /// What the whole of `bytes` holds, said in another way.
    fn expected(bytes: &[u8], limit: usize) -> Vec<Found> {
        let (mut offset, mut found) = (0, Vec::new());
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let text = if offset == 0 { line.strip_prefix(MARK).unwrap_or(line) } else { line };
            let record = text.trim_ascii_end();
            if !record.trim_ascii().is_empty() {
                let mut one = Found::new((offset + line.len() - text.len()) as u64, record);
                if record.len() > limit {
                    one.head = Err(Refused::TooLarge);
                }
                found.push(one);
            }
            offset += line.len();
        }
        found
    }

    fn record(id: &str, filler: usize) -> String {
        format!(r#"{{"id":"{id}","version":1,"startDateTime":"2026-01-01T00:00:00Z","x":"{}"}}"#, "y".repeat(filler))
    }

    fn compare(bytes: &[u8], limit: usize) {
        let all = expected(bytes, limit);
        for piece in (1..90).chain([1 << 20]) {
            for (head, large) in [(1, 16), (75, 90), (1 << 20, 1 << 20)] {
                assert_eq!(read(bytes, &Lines::with_bounds(piece, head, large, limit)), all, "pieces of {piece}");
            }
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same() {
        let (a, b) = (record("a", 0), record("b", 90));
        for bytes in [
            String::new(),
            "\n".into(),
            "\n\n \n\r\n".into(),
            a.clone(),
            format!("{a}\n{b}\n"),
            format!("{a}\n{b}"),
            format!("\u{feff}{a}\r\n\r\n\n  {b}  \r\n"),
            "\u{feff}".into(),
            format!("{a}\n\u{feff}{b}\n"),
            format!("{a}\n{}\n{b}", "no json ".repeat(60)),
            format!("{a}\n{}\n{b}\n{a}", " ".repeat(300)),
        ] {
            compare(bytes.as_bytes(), MAX_RECORD_BYTES);
        }
    }

    #[test]
    fn what_is_too_long_is_refused_with_its_length_and_the_next_line_is_read() {
        let (a, long) = (record("a", 0), record("b", 200));
        let limit = a.len() + 7;
        for bytes in [
            format!("{long}\n{a}"),
            format!("{a}\n{long}"),
            format!("{a}\n{long}  \r\n{a}\n"),
            format!("\u{feff}{long}\n"),
            // White space at the end of a line is no part of a record.
            format!("{a}{}\n{a}\n", " ".repeat(500)),
            format!("\u{feff}{a}       \n{a}xxxxxxx\n{a}xxxxxxxx\n{}\n{a}", " ".repeat(500)),
        ] {
            compare(bytes.as_bytes(), limit);
        }
        let found = read(format!("{long}\n{a}").as_bytes(), &Lines::with_bounds(50, 10, 20, limit));
        assert_eq!((found[0].length, &found[0].head), (long.len() as u64, &Err(Refused::TooLarge)));
        assert!(found[1].head.is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_found_as_in_one_piece(
            words in prop::collection::vec(prop::sample::select(vec![
                "\n", "\r\n", " ", "\u{feff}", "{", "x", "{}", "nnnnnnnnnnnnnnnnnnnnnnnnn",
                r#"{"id":"a","version":1,"startDateTime":"2026-01-01T00:00:00Z"}"#,
            ]), 0..40),
            piece in 1_u64..64, head in 1_usize..80, large in 1_usize..64, limit in 1_usize..100,
        ) {
            let bytes = words.concat().into_bytes();
            prop_assert_eq!(read(&bytes, &Lines::with_bounds(piece, head, large, limit)), expected(&bytes, limit));
        }
    }
}
