//! One log from an offset to its end, in lines or as one document.

use super::cursor::{LogCursor, hash};
use super::line::{KEPT_BYTES, Position, Shape, refuse, shape, take};
use super::stream::{End, HEAD_BYTES, Log, Stream};
use super::{Collected, Reason, Settings};
use crate::error::Result;
use std::path::Path;

/// Largest JSON document that is taken, in multiples of the limit of a line.
const DOCUMENT_LINES: usize = 16;

/// Bytes of the end of a line that its hash covers.
const LAST_BYTES: usize = 4096;

/// Where reading came to.
struct Progress {
    offset: u64,
    last: Vec<u8>,
    ended: bool,
    document: bool,
    damaged: bool,
}

/// Reads what stands behind `from` (nothing before it is looked at) into
/// `collected`, and gives the new cursor. `base` is the name before rotation.
pub(super) fn read(
    log: &mut Log,
    path: &Path,
    base: &str,
    from: Option<&LogCursor>,
    settings: &Settings,
    collected: &mut Collected,
) -> Result<LogCursor> {
    let start = from.map_or(0, |cursor| cursor.offset);
    let document = if start == 0 { document(log, path, settings, collected)? } else { None };
    let progress = match document {
        Some(progress) => progress,
        None => lines(log, path, from, settings, collected)?,
    };
    let head = hash(&log.head(progress.offset.min(HEAD_BYTES))?);
    let old = from.filter(|cursor| cursor.offset == progress.offset);
    Ok(LogCursor {
        path: path.to_string_lossy().into_owned(),
        base: base.to_owned(),
        device: log.stat.device,
        inode: log.stat.inode,
        size: log.stat.size,
        modified: log.stat.modified,
        head,
        offset: progress.offset,
        last_length: old.map_or(progress.last.len() as u64, |cursor| cursor.last_length),
        last_line: old.map_or_else(|| hash(&progress.last), |cursor| cursor.last_line.clone()),
        ended: progress.ended,
        rotated: false,
        quiet: false,
        document: old.map_or(progress.document, |cursor| cursor.document),
        compressed: Some(log.compressed),
        damaged: progress.damaged,
    })
}

/// Reads the whole log as one JSON document; `None` if it is lines.
///
/// A file named `.json`, or one whose first line is an opening bracket alone, is
/// a document unless its first line is a whole value and more follows.
fn document(log: &mut Log, path: &Path, settings: &Settings, collected: &mut Collected) -> Result<Option<Progress>> {
    if log.captured {
        return Ok(None);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let named = name.trim_end_matches(".gz").trim_end_matches(".zst").ends_with(".json");
    let mut stream = log.read_from(0)?;
    let first = first_line(&mut stream, settings.max_line_bytes)?;
    let bare = matches!(without_padding(&first), b"{" | b"[" | b"[{") && first.ends_with(b"\n");
    if !named && !bare {
        return Ok(None);
    }
    let limit = settings.max_line_bytes.saturating_mul(DOCUMENT_LINES);
    let mut bytes = first;
    let room = (limit as u64 + 1).saturating_sub(bytes.len() as u64);
    stream.pass(room, |chunk| bytes.extend_from_slice(chunk))?;
    let at = Position { file: path, offset: 0 };
    let length = bytes.len() as u64;
    let whole = Progress { offset: length, last: Vec::new(), ended: true, document: true, damaged: false };
    let body = without_padding(without_bom(&bytes));
    if body.is_empty() {
        return Ok(None);
    }
    match shape(if bytes.len() > limit { &bytes } else { body }, limit) {
        Shape::Whole => take(body, limit, at, settings, collected),
        _ if lines_follow(&bytes, settings.max_line_bytes) => return Ok(None),
        Shape::Unfinished if stream.end() != End::Damaged => {
            return Ok(Some(Progress { offset: 0, ended: false, ..whole }));
        }
        Shape::Refused(Reason::TooLong) => {
            refuse(kept(body), Reason::TooLong, at, settings, collected);
            let mut rest = Bounded::default();
            rest.push(&bytes, 0);
            stream.pass(u64::MAX, |chunk| rest.push(chunk, 0))?;
            return Ok(Some(Progress { offset: rest.length, last: rest.last, ..whole }));
        }
        Shape::Unfinished => refuse(kept(body), Reason::Damaged, at, settings, collected),
        Shape::Refused(reason) => refuse(kept(body), reason, at, settings, collected),
    }
    let damaged = stream.end() == End::Damaged;
    Ok(Some(Progress { last: bytes, damaged, ..whole }))
}

fn kept(bytes: &[u8]) -> &[u8] {
    bytes.get(..bytes.len().min(KEPT_BYTES)).unwrap_or_default()
}

/// Whether the first line that is not empty is a whole value.
fn lines_follow(bytes: &[u8], limit: usize) -> bool {
    let mut lines =
        without_bom(bytes).split(|byte| *byte == b'\n').map(without_padding).filter(|line| !line.is_empty());
    lines.next().is_some_and(|line| matches!(shape(line, limit), Shape::Whole))
}

fn first_line(stream: &mut Stream, limit: usize) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < limit {
        let chunk = stream.chunk()?;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(chunk.len(), |end| end + 1);
        line.extend_from_slice(chunk.get(..count).unwrap_or_default());
        stream.consume(count);
        if count == 0 || end.is_some() && !without_padding(without_bom(&line)).is_empty() {
            break;
        }
    }
    Ok(line)
}

fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn without_padding(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// Reads lines from where `from` ended.
fn lines(
    log: &mut Log,
    path: &Path,
    from: Option<&LogCursor>,
    settings: &Settings,
    collected: &mut Collected,
) -> Result<Progress> {
    let start = from.map_or(0, |cursor| cursor.offset);
    let limit = settings.max_line_bytes;
    let mut stream = log.read_from(start)?;
    let mut progress = Progress { offset: start, last: Vec::new(), ended: true, document: false, damaged: false };
    let mut line = Bounded::default();
    loop {
        if collected.is_full() && line.length == 0 {
            progress.ended = false;
            return Ok(progress);
        }
        let chunk = stream.chunk()?;
        if chunk.is_empty() {
            break;
        }
        if line.content == 0 && is_hole(chunk) {
            let count = chunk.len();
            line.length += count as u64;
            stream.consume(count);
            continue;
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(chunk.len(), |end| end + 1);
        line.push(chunk.get(..count).unwrap_or_default(), limit);
        stream.consume(count);
        if end.is_some() {
            finish(&mut line, limit, path, &mut progress, settings, collected);
        }
    }
    if line.length > 0 {
        let body = body(&line.bytes, progress.offset);
        // NULs alone may be room that a writer has reserved and will fill.
        let complete = line.content > 0
            && line.content <= limit as u64
            && (body.is_empty() || matches!(shape(body, limit), Shape::Whole));
        if complete && stream.end() == End::Clean {
            finish(&mut line, limit, path, &mut progress, settings, collected);
        } else {
            progress.ended = false;
        }
    }
    match stream.end() {
        End::Clean => {}
        End::Torn => progress.ended = false,
        end @ (End::Damaged | End::Foreign) => {
            let reason = if end == End::Damaged { Reason::Damaged } else { Reason::NotACapture };
            progress.damaged = true;
            if !from.is_some_and(|from| from.damaged && from.offset == progress.offset) {
                let at = Position { file: path, offset: progress.offset };
                refuse(kept(&line.bytes), reason, at, settings, collected);
            }
        }
    }
    Ok(progress)
}

/// Whether there is nothing but NULs; a sparse file may hold very many.
fn is_hole(chunk: &[u8]) -> bool {
    static NULS: [u8; 64 * 1024] = [0; 64 * 1024];
    chunk.chunks(NULS.len()).all(|part| Some(part) == NULS.get(..part.len()))
}

fn body(bytes: &[u8], offset: u64) -> &[u8] {
    without_padding(if offset == 0 { without_bom(bytes) } else { bytes })
}

fn finish(
    line: &mut Bounded,
    limit: usize,
    path: &Path,
    progress: &mut Progress,
    settings: &Settings,
    collected: &mut Collected,
) {
    let at = Position { file: path, offset: progress.offset };
    let body = body(&line.bytes, progress.offset);
    if line.content > limit as u64 + 2 {
        refuse(kept(body), Reason::TooLong, at, settings, collected);
    } else if !body.is_empty() {
        take(body, limit, at, settings, collected);
    }
    progress.offset += line.length;
    std::mem::swap(&mut progress.last, &mut line.last);
    line.clear();
}

/// One line in bounded memory: its first bytes up to the limit, and its end.
///
/// NULs before it belong to no line: a log that is cut under a writer which goes
/// on at its old offset begins with a hole, as does one after a power loss.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    last: Vec<u8>,
    length: u64,
    /// The length without NULs before it.
    content: u64,
}

impl Bounded {
    fn push(&mut self, chunk: &[u8], limit: usize) {
        let hole = if self.content > 0 { 0 } else { chunk.iter().take_while(|byte| **byte == 0).count() };
        let text = chunk.get(hole..).unwrap_or_default();
        self.content += text.len() as u64;
        let room = (limit + 2).saturating_sub(self.bytes.len()).min(text.len());
        self.bytes.extend_from_slice(text.get(..room).unwrap_or_default());
        let tail = chunk.get(chunk.len().saturating_sub(LAST_BYTES)..).unwrap_or_default();
        let surplus = (self.last.len() + tail.len()).saturating_sub(LAST_BYTES);
        self.last.drain(..surplus.min(self.last.len()));
        self.last.extend_from_slice(tail);
        self.length += chunk.len() as u64;
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.last.clear();
        self.length = 0;
        self.content = 0;
    }
}
