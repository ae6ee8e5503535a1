//! What was refused and why: kept with its bytes until somebody retries it.
//!
//! `_callrec/quarantine/<commit>.jsonl` holds the items that a commit added,
//! one JSON object a line.

use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What an item was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A line, or an item of a line, of a notification log.
    Notification,
    /// A record that the tables cannot hold.
    Record,
    /// An id for which Graph gave nothing that can be used.
    Answer,
}

/// The bytes of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// UTF-8.
    Text(String),
    /// Anything else, as hex digits.
    Hex(String),
}

impl Content {
    /// From bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(files::hex(bytes)),
        }
    }

    /// The bytes again.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Hex(digits) => digits
                .as_bytes()
                .chunks(2)
                .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect(),
        }
    }
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name: commit and number in it.
    pub item: String,
    /// What it was.
    pub kind: Kind,
    /// The call, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call_id: Option<String>,
    /// The log file that held it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// Where in that file, in decompressed bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset: Option<u64>,
    /// Why, as a short code.
    pub reason: String,
    /// The clock of the run that put it here.
    pub at: DateTime<Utc>,
    /// Its bytes; personal data may be among them.
    pub content: Content,
}

/// The name of the file of the items of commit `number`.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("{number:06}.jsonl")
}

/// Numbers the items of commit `number` and gives the bytes of their file.
///
/// # Errors
/// None in practice: items are plain data.
pub fn encode(items: &mut [Item], number: u64) -> Result<Vec<u8>> {
    for (index, item) in items.iter_mut().enumerate() {
        item.item = format!("{number:06}-{}", index + 1);
    }
    encode_named(items)
}

/// The bytes of a file of items that have their names.
///
/// # Errors
/// None in practice: items are plain data.
pub fn encode_named(items: &[Item]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for item in items {
        serde_json::to_writer(&mut bytes, item)
            .map_err(|e| Error::config("Cannot write an item of the quarantine").because(e))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Writes the items of a commit one after the other: there may be many.
pub struct Writer {
    directory: PathBuf,
    number: u64,
    count: u64,
    /// None as long as there is no item.
    file: Option<BufWriter<File>>,
}

impl Writer {
    /// For the items of commit `number`, in `directory`, which is made with the first.
    #[must_use]
    pub fn new(directory: &Path, number: u64) -> Self {
        Self { directory: directory.to_owned(), number, count: 0, file: None }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(file_name(self.number))
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Names an item and appends it.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn push(&mut self, mut item: Item) -> Result<()> {
        let path = self.path();
        self.count += 1;
        item.item = format!("{:06}-{}", self.number, self.count);
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                files::create_directory(&self.directory, PRIVATE)?;
                none.insert(BufWriter::new(files::create_file(&path, PRIVATE)?))
            }
        };
        serde_json::to_writer(&mut *file, &item)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(|e| Error::io("write", &path, e))
    }

    /// Ends the file, synced, and says how many items there are.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn finish(mut self) -> Result<u64> {
        if let Some(mut file) = self.file.take() {
            let synced = file.flush().and_then(|()| file.get_ref().sync_all());
            synced.map_err(|e| Error::io("write", &self.path(), e))?;
            files::sync_directory(&self.directory)?;
        }
        Ok(self.count)
    }
}

/// All items with the file that each is in, oldest first.
///
/// # Errors
/// By class configuration when a file is damaged.
pub fn read(directory: &Path) -> Result<Vec<(PathBuf, Vec<Item>)>> {
    let mut all = Vec::new();
    for path in files::list(directory)? {
        if path.extension().is_none_or(|e| e != "jsonl") {
            continue;
        }
        let bytes = files::read_if_there(&path)?.unwrap_or_default();
        let mut items = Vec::new();
        for line in bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            items.push(serde_json::from_slice(line).map_err(|e| {
                // The parser's own words may quote the item.
                Error::config(format!("The quarantine file {} is damaged ({:?} error)", path.display(), e.classify()))
                    .hint("move it away to go on without its items")
            })?);
        }
        all.push((path, items));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were() {
        for bytes in [b"plain".to_vec(), vec![0xff, 0x00, 0x7f]] {
            assert_eq!(Content::new(&bytes).bytes(), bytes);
        }
    }
}
