//! A writer of Avro files as Event Hubs Capture makes them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "tests fail by panics")]

use std::io::Write;

/// What stands between the blocks.
pub const SYNC: [u8; 16] = *b"\x00sync\xffmarker\x0a\x0d\x80\x7f";

/// The schema of the events.
pub const EVENT: &str = r#"{"type":"record","name":"EventData","namespace":"Microsoft.ServiceBus.Messaging","fields":[
    {"name":"SequenceNumber","type":"long"},{"name":"Offset","type":"string"},{"name":"EnqueuedTimeUtc","type":"string"},
    {"name":"SystemProperties","type":{"type":"map","values":["long","double","string","bytes"]}},
    {"name":"Properties","type":{"type":"map","values":["long","double","string","bytes","null"]}},
    {"name":"Body","type":["null","bytes"]}]}"#;

pub fn number(value: i64) -> Vec<u8> {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

pub fn bytes(value: &[u8]) -> Vec<u8> {
    [&number(value.len() as i64), value].concat()
}

/// An event with all kinds of properties.
pub fn event(sequence: i64, body: Option<&[u8]>) -> Vec<u8> {
    let mut event = number(sequence);
    event.extend(bytes(sequence.to_string().as_bytes()));
    event.extend(bytes(b"11/2/2026 10:04:59 AM"));
    // A map of two, and one of two that says how long it is.
    event.extend(
        [number(2), bytes(b"time"), number(0), number(i64::MAX), bytes(b"key"), number(2), bytes(b"p")].concat(),
    );
    event.extend(number(0));
    let sized = [bytes(b"weight"), number(1), 0.5_f64.to_le_bytes().to_vec(), bytes(b"none"), number(4)].concat();
    event.extend([number(-2), number(sized.len() as i64), sized, number(0)].concat());
    event.extend(body.map_or_else(|| number(0), |body| [number(1), bytes(body)].concat()));
    event
}

/// A file without blocks.
pub fn header(schema: &str, codec: &str) -> Vec<u8> {
    let pairs = [("avro.codec", codec), ("avro.schema", schema)];
    let mut file = b"Obj\x01".to_vec();
    file.extend(number(pairs.len() as i64));
    for (key, value) in pairs {
        file.extend([bytes(key.as_bytes()), bytes(value.as_bytes())].concat());
    }
    file.extend(number(0));
    file.extend(SYNC);
    file
}

/// A block that says it holds `count` events.
pub fn block(codec: &str, count: i64, events: &[u8]) -> Vec<u8> {
    [number(count), bytes(&packed(codec, events)), SYNC.to_vec()].concat()
}

fn packed(codec: &str, events: &[u8]) -> Vec<u8> {
    match codec {
        "deflate" => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(events).unwrap();
            encoder.finish().unwrap()
        }
        "snappy" => {
            let mut packed = snap::raw::Encoder::new().compress_vec(events).unwrap();
            packed.extend(crc32fast::hash(events).to_be_bytes());
            packed
        }
        "zstandard" => zstd::encode_all(events, 1).unwrap(),
        _ => events.to_vec(),
    }
}

/// A file with a block for each list of bodies.
pub fn file(codec: &str, blocks: &[&[Option<&[u8]>]]) -> Vec<u8> {
    let mut file = header(EVENT, codec);
    for bodies in blocks {
        let events: Vec<u8> = bodies.iter().zip(1..).flat_map(|(body, sequence)| event(sequence, *body)).collect();
        file.extend(block(codec, bodies.len() as i64, &events));
    }
    file
}
