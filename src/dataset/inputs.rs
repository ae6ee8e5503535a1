//! The files that `flatten` takes, and the index of their records.

use super::lines::{Found, Lines, MARK};
use super::order::{Entry, Pool};
use super::pool::in_order;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use crate::flatten::Refused;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The largest JSON document that is read as a whole.
const MAX_DOCUMENT: u64 = 1 << 30;

const KINDS: &str = "name files with call records: .json, .ndjson, .jsonl, each also as .gz or .zst";

/// One input.
pub struct Source {
    /// As the user named it.
    pub named: PathBuf,
    /// The file that is read: the input, or what is unpacked from it.
    pub path: PathBuf,
    /// The input itself, where it is packed.
    packed: Option<(PathBuf, Packing)>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Packing {
    Gzip,
    Zstd,
}

#[derive(Clone, Copy)]
enum Kind {
    Document,
    Lines,
}

impl Source {
    /// The input `named`, the `number`-th of all; it will be unpacked below
    /// `unpacked` if need be.
    ///
    /// # Errors
    /// By class usage when there is no such file, or it is of no known kind.
    pub fn new(number: usize, named: &Path, unpacked: &Path) -> Result<Self> {
        let name = named.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_ascii_lowercase();
        if !named.is_file() {
            let what = if named.exists() { "is no regular file" } else { "does not exist" };
            return Err(Error::usage(format!("{} {what}", named.display())).hint(KINDS));
        }
        // An input may be a link; what it names is read.
        let input = files::resolved(named)?;
        let (inner, packing) = if let Some(inner) = name.strip_suffix(".gz") {
            (inner, Some(Packing::Gzip))
        } else if let Some(inner) = name.strip_suffix(".zst") {
            (inner, Some(Packing::Zstd))
        } else {
            (name.as_str(), None)
        };
        let kind = match Path::new(inner).extension().and_then(|e| e.to_str()) {
            Some("json") => Kind::Document,
            Some("ndjson" | "jsonl") => Kind::Lines,
            _ => {
                return Err(Error::usage(format!("{} is of no kind that can be read", named.display())).hint(KINDS));
            }
        };
        let (path, packed) = match packing {
            Some(packing) => (unpacked.join(number.to_string()), Some((input, packing))),
            None => (input, None),
        };
        Ok(Self { named: named.to_owned(), path, packed, kind })
    }

    fn unpack(&self) -> Result<()> {
        let Some((input, packing)) = &self.packed else { return Ok(()) };
        let fail = |e| Error::io("unpack", input, e);
        files::create_directory(self.path.parent().unwrap_or(Path::new("")), PRIVATE)?;
        let packed = files::open(input)?;
        let mut reader: Box<dyn Read> = match packing {
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(packed))),
            Packing::Zstd => Box::new(zstd::Decoder::new(packed).map_err(fail)?),
        };
        let mut file = files::create_file(&self.path, PRIVATE)?;
        std::io::copy(&mut reader, &mut file).map_err(fail)?;
        Ok(())
    }

    /// What is read of it at a time, with the bytes that this takes; it is
    /// unpacked.
    fn pieces(&self, lines: &Lines) -> Result<Vec<(u64, Option<Range<u64>>)>> {
        let size = files::size(&self.path)?;
        match self.kind {
            Kind::Lines => {
                Ok(lines.pieces(size).map(|piece| (piece.end.min(size) - piece.start, Some(piece))).collect())
            }
            Kind::Document if size > MAX_DOCUMENT => {
                Err(Error::usage(format!("{} is larger than a JSON document may be", self.named.display()))
                    .hint("write one record a line and name the file .ndjson"))
            }
            Kind::Document => Ok(vec![(size, None)]),
        }
    }
}

/// Unpacks and finds the records of all `sources` on the threads of `pool`, and gives those
/// with a head to `each` and the others to `refuse`, in the order of the files.
///
/// # Errors
/// Any failure of the file system, by class I/O; by class usage when a document
/// is too large; those of `each` and `refuse`.
pub fn index(
    sources: &[Source],
    lines: &Lines,
    pool: &Pool,
    mut each: impl FnMut(Entry) -> Result<()>,
    mut refuse: impl FnMut(usize, u64, u64, Refused) -> Result<()>,
) -> Result<()> {
    let packed = sources.iter().filter(|source| source.packed.is_some());
    in_order(pool, packed.map(|source| Ok((0, source))), Source::unpack, |unpacked, _| unpacked)?;
    let jobs = sources.iter().enumerate().flat_map(|(number, source)| {
        let (pieces, failed) = match source.pieces(lines) {
            Ok(pieces) => (pieces, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        pieces.into_iter().map(move |(bytes, piece)| Ok((bytes, (number, piece)))).chain(failed)
    });
    let work = |(number, piece): (usize, Option<Range<u64>>)| {
        let path = &sources[number].path;
        let found = piece.map_or_else(|| document(path), |piece| lines.read(path, piece));
        found.map(|found| (number, found))
    };
    in_order(pool, jobs, work, |found, _| {
        let (source, found) = found?;
        for Found { offset, length, head } in found {
            match head {
                Ok(head) => each(Entry { head, source, offset, length })?,
                Err(reason) => refuse(source, offset, length, reason)?,
            }
        }
        Ok(())
    })
}

/// The records of a file of JSON documents.
fn document(path: &Path) -> Result<Vec<Found>> {
    let fail = |e| Error::io("read", path, e);
    let mut bytes = Vec::new();
    files::open(path)?.read_to_end(&mut bytes).map_err(fail)?;
    let text = bytes.strip_prefix(MARK).unwrap_or(&bytes);
    let place = |part: &[u8]| (part.as_ptr() as usize - bytes.as_ptr() as usize) as u64;
    let mut found = Vec::new();
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    loop {
        let begin = values.byte_offset();
        match values.next() {
            None => return Ok(found),
            Some(Ok(value)) => {
                let all = records(value.get()).into_iter().map(str::as_bytes);
                found.extend(all.map(|record| Found::new(place(record), record)));
            }
            Some(Err(_)) => {
                // The rest of the file cannot be told apart any more.
                let rest = &text[begin..];
                found.push(Found { offset: place(rest), length: rest.len() as u64, head: Err(Refused::NotJson) });
                return Ok(found);
            }
        }
    }
}

#[derive(Deserialize)]
struct Collection<'a> {
    #[serde(borrow, default)]
    value: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

fn records(text: &str) -> Vec<&str> {
    if text.starts_with('[')
        && let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(text)
    {
        return list.into_iter().map(RawValue::get).collect();
    }
    match serde_json::from_str::<Collection<'_>>(text) {
        Ok(Collection { value: Some(list), id: None }) => list.into_iter().map(RawValue::get).collect(),
        _ => vec![text],
    }
}
