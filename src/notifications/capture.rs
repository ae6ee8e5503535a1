//! Avro files that Event Hubs Capture wrote, as lines: the body of each event is one.
//!
//! The container is read here and not by a crate: nothing in a file may make the
//! reader hang, use much memory or take cut events for events without a body.

mod schema;

use schema::{Events, Schema};
use std::io::{self, BufRead, ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

/// What every Avro file begins with.
pub(super) const MAGIC: [u8; 4] = *b"Obj\x01";

/// Most bytes of the metadata before the first block.
const HEADER_BYTES: u64 = 1 << 20;
/// Most bytes of a block, as stored and unpacked.
const PACKED_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: u64 = 128 << 20;

const SYNC_BYTES: usize = 16;

/// What contradicts the format.
fn damaged() -> io::Error {
    ErrorKind::InvalidData.into()
}

/// What is Avro, but holds no events or is packed in an unknown way.
fn foreign() -> io::Error {
    ErrorKind::Unsupported.into()
}

/// Whether the first bytes of a file are, or may become, those of an Avro file.
pub(super) fn begins(magic: &[u8]) -> bool {
    !magic.is_empty() && MAGIC.starts_with(magic)
}

/// Whether a file is named as Event Hubs Capture names them.
pub(super) fn is_named(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("avro"))
}

/// The bodies of the events, each with a line feed behind it. Events without a
/// body give nothing. Line feeds in a body, which are white space in JSON, become
/// blanks.
///
/// Errors beside those of the file: `UnexpectedEof` where a block is not whole
/// yet, none of which was given; `InvalidData` and `Unsupported` as [`damaged`]
/// and [`foreign`].
pub(super) struct Lines<R> {
    file: R,
    header: Option<Header>,
    /// A block as stored, for its memory.
    packed: Vec<u8>,
    events: Events,
    /// What is left of the body at hand, in the block.
    body: Range<usize>,
    /// Whether the line feed behind it is still to be given.
    feed: bool,
}

struct Header {
    schema: Schema,
    codec: Codec,
    sync: [u8; SYNC_BYTES],
}

#[derive(Clone, Copy)]
enum Codec {
    Plain,
    Deflate,
    Snappy,
    Zstd,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file, header: None, packed: Vec::new(), events: Events::default(), body: 0..0, feed: false }
    }

    /// Goes to the next body; false at the end of the file.
    fn advance(&mut self) -> io::Result<bool> {
        if self.header.is_none() {
            self.header = Some(header(&mut self.file)?);
        }
        let Some(Header { schema, codec, sync }) = &self.header else { return Err(damaged()) };
        loop {
            while let Some(body) = self.events.next(schema)? {
                let body = self.events.trimmed(body);
                if !body.is_empty() {
                    (self.body, self.feed) = (body, true);
                    return Ok(true);
                }
            }
            if self.file.fill_buf()?.is_empty() {
                return Ok(false);
            }
            let count = number(&mut self.file)?;
            stored(&mut self.file, &mut self.packed, sync)?;
            let mut block = self.events.emptied();
            unpack(*codec, &mut self.packed, &mut block)?;
            self.events = Events::new(block, count).ok_or_else(damaged)?;
        }
    }
}

impl<R: BufRead> BufRead for Lines<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.body.is_empty() && !self.feed && !self.advance()? {
            return Ok(&[]);
        }
        Ok(if self.body.is_empty() { b"\n" } else { self.events.bytes(&self.body) })
    }

    fn consume(&mut self, count: usize) {
        if self.body.is_empty() {
            self.feed = self.feed && count == 0;
        } else {
            self.body.start = (self.body.start + count).min(self.body.end);
        }
    }
}

impl<R: BufRead> Read for Lines<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

fn header(file: &mut impl BufRead) -> io::Result<Header> {
    let mut magic = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    if !MAGIC.starts_with(&magic) {
        return Err(damaged());
    }
    if magic.len() < MAGIC.len() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let (mut room, mut schema, mut codec) = (HEADER_BYTES, None, Codec::Plain);
    loop {
        let count = number(file)?;
        if count == 0 {
            break;
        }
        if count < 0 {
            number(file)?;
        }
        for _ in 0..count.unsigned_abs() {
            let key = value(file, &mut room)?;
            let value = value(file, &mut room)?;
            match key.as_slice() {
                b"avro.schema" => schema = Some(value),
                b"avro.codec" => codec = named(&value).ok_or_else(foreign)?,
                _ => {}
            }
        }
    }
    let mut sync = [0; SYNC_BYTES];
    file.read_exact(&mut sync)?;
    let text = schema.ok_or_else(damaged)?;
    Ok(Header { schema: Schema::parse(&text)?, codec, sync })
}

/// A key or value of the metadata.
fn value(file: &mut impl BufRead, room: &mut u64) -> io::Result<Vec<u8>> {
    let length = u64::try_from(number(file)?).map_err(|_| damaged())?;
    *room = length.checked_add(1).and_then(|cost| room.checked_sub(cost)).ok_or_else(damaged)?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

fn named(codec: &[u8]) -> Option<Codec> {
    match codec {
        b"null" => Some(Codec::Plain),
        b"deflate" => Some(Codec::Deflate),
        b"snappy" => Some(Codec::Snappy),
        b"zstandard" => Some(Codec::Zstd),
        _ => None,
    }
}

/// Reads the rest of a block, after the number of its events.
fn stored(file: &mut impl BufRead, block: &mut Vec<u8>, sync: &[u8; SYNC_BYTES]) -> io::Result<()> {
    let size = u64::try_from(number(file)?).ok().filter(|size| *size <= PACKED_BYTES).ok_or_else(damaged)?;
    let whole = size + SYNC_BYTES as u64;
    block.clear();
    file.take(whole).read_to_end(block)?;
    if (block.len() as u64) < whole {
        // The end of a block within it: its size is wrong, and no more is to come.
        let ended = memchr::memmem::find(block, sync).is_some();
        return Err(if ended { damaged() } else { ErrorKind::UnexpectedEof.into() });
    }
    if !block.ends_with(sync) {
        return Err(damaged());
    }
    block.truncate(block.len() - SYNC_BYTES);
    Ok(())
}

fn unpack(codec: Codec, packed: &mut Vec<u8>, block: &mut Vec<u8>) -> io::Result<()> {
    match codec {
        Codec::Plain => std::mem::swap(packed, block),
        Codec::Deflate => limited(flate2::bufread::DeflateDecoder::new(packed.as_slice()), block)?,
        Codec::Zstd => limited(zstd::Decoder::with_buffer(packed.as_slice())?, block)?,
        Codec::Snappy => {
            let (packed, sum) = packed.split_last_chunk::<4>().ok_or_else(damaged)?;
            let length = snap::raw::decompress_len(packed).map_err(|_| damaged())?;
            if length as u64 > BLOCK_BYTES {
                return Err(damaged());
            }
            block.resize(length, 0);
            snap::raw::Decoder::new().decompress(packed, block).map_err(|_| damaged())?;
            if crc32fast::hash(block) != u32::from_be_bytes(*sum) {
                return Err(damaged());
            }
        }
    }
    Ok(())
}

/// Reads all of it, unless it is more than a block may hold. The block is whole
/// as it is stored: that it ends too early is damage.
fn limited(unpacked: impl Read, block: &mut Vec<u8>) -> io::Result<()> {
    let read = unpacked.take(BLOCK_BYTES + 1).read_to_end(block);
    if read.is_ok_and(|length| length as u64 <= BLOCK_BYTES) { Ok(()) } else { Err(damaged()) }
}

fn number(file: &mut impl BufRead) -> io::Result<i64> {
    schema::number(|| {
        let mut byte = [0];
        file.read_exact(&mut byte).map(|()| byte[0])
    })?
    .ok_or_else(damaged)
}
