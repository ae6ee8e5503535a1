//! Lists of call ids, made by hand or by another program.
//!
//! Text with one id per line (`#` begins a comment), or CSV with a column named
//! `id`, `call_id`, `callId` or `callRecordId`. A line that holds no id is an error.

use crate::call_id::CallId;
use crate::error::{Error, Result};
use std::path::Path;

/// Largest list that is read.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Reads the ids of a list in its order, repeated ones too.
///
/// # Errors
/// The file cannot be read, or a line of it holds no call id: file and line are
/// named.
pub fn ids_from_file(path: &Path) -> Result<Vec<CallId>> {
    let failed = |error| Error::io("read the list of ids", path, error);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(Error::usage(format!("{} is no regular file of at most {MAX_BYTES} bytes", path.display()))
            .hint("give a text file with one call id per line, or a CSV file"));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    parse(&bytes).map_err(|(line, why)| {
        Error::usage(format!("{} line {line}: {why}", path.display()))
            .hint("give one call id per line, or a CSV file with a column id, call_id, callId or callRecordId")
    })
}

/// Why a list is refused, and the number of the line from 1.
type Refusal = (usize, &'static str);

fn parse(bytes: &[u8]) -> Result<Vec<CallId>, Refusal> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        (1 + before.iter().filter(|byte| **byte == b'\n').count(), "it is not UTF-8")
    })?;
    let first = text.lines().find(|line| !blank(line)).unwrap_or_default();
    let delimiter = [',', ';', '\t'].into_iter().find(|delimiter| first.contains(*delimiter)).unwrap_or(',');
    let (_, header) = fields(first.trim_end(), delimiter, 1, &mut std::iter::empty())?;
    match header.iter().position(|name| is_id_column(name)) {
        Some(column) => from_csv(text, delimiter, column),
        None if header.len() > 1 => Err((1, "no column of the CSV file is named id, call_id, callId or callRecordId")),
        None => from_lines(text),
    }
}

fn blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn is_id_column(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    matches!(name.as_str(), "id" | "callid" | "recordid" | "callrecordid")
}

fn from_lines(text: &str) -> Result<Vec<CallId>, Refusal> {
    let lines = text.lines().enumerate().filter(|(_, line)| !blank(line));
    lines
        .map(|(number, line)| {
            let id = line.split('#').next().unwrap_or_default().trim().trim_matches('"');
            id.parse().map_err(|_| (number + 1, "it holds no call id, which is a GUID of 36 characters"))
        })
        .collect()
}

fn from_csv(text: &str, delimiter: char, column: usize) -> Result<Vec<CallId>, Refusal> {
    let mut lines = text.lines().enumerate().map(|(number, line)| (number + 1, line));
    let mut ids = Vec::new();
    let mut header = true;
    while let Some((number, line)) = lines.next() {
        if blank(line) {
            continue;
        }
        let (_, values) = fields(line, delimiter, number, &mut lines)?;
        if std::mem::take(&mut header) {
            continue;
        }
        let id = values.get(column).map(|value| value.trim()).unwrap_or_default();
        ids.push(id.parse().map_err(|_| (number, "its id column holds no call id, which is a GUID of 36 characters"))?);
    }
    Ok(ids)
}

/// The fields of one CSV row, which may go over several lines inside quotes,
/// and the number of its last line.
fn fields<'a>(
    first: &'a str,
    delimiter: char,
    number: usize,
    more: &mut impl Iterator<Item = (usize, &'a str)>,
) -> Result<(usize, Vec<String>), Refusal> {
    let (mut line, mut last) = (first, number);
    let (mut done, mut field, mut quoted) = (Vec::new(), String::new(), false);
    loop {
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '"' if quoted && characters.peek() == Some(&'"') => {
                    field.push('"');
                    characters.next();
                }
                '"' if quoted => quoted = false,
                '"' if field.is_empty() => quoted = true,
                other if other == delimiter && !quoted => done.push(std::mem::take(&mut field)),
                other => field.push(other),
            }
        }
        if !quoted {
            done.push(field);
            return Ok((last, done));
        }
        (last, line) = more.next().ok_or((number, "a quoted field of the CSV file has no end"))?;
        field.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "e523d2ed-2966-4b6b-925b-754a88034cc5";
    const B: &str = "0b0a1a2e-6b3d-4f49-8f2a-1f3e2ab7a3c1";

    fn ids(text: &str) -> Result<Vec<String>, Refusal> {
        Ok(parse(text.as_bytes())?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn text_and_csv_give_the_same_ids() {
        for text in [
            format!("{A}\n{B}\n"),
            format!("\u{feff}# mine\r\n\r\n{}  # the first\r\n  {B}", A.to_uppercase()),
            format!("id\n{A}\n{B}\n"),
            format!("\"Call Record Id\";name\n\"{A}\";\"a;b\"\n{B};x\n"),
            format!("name,callId\n\"two\nlines, \"\"quoted\"\"\",{A}\n\n,{B}\n"),
            format!("when\tcall_id\n1\t{A}\n2\t{B}\n"),
        ] {
            assert_eq!(ids(&text), Ok(vec![A.to_owned(), B.to_owned()]), "{text}");
        }
        assert_eq!(ids(""), Ok(Vec::new()));
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(ids(&format!("# x\n{A}\nNA\n")).unwrap_err().0, 3);
        assert_eq!(ids(&format!("id,b\n{A},1\n,2\n")).unwrap_err().0, 3);
        assert_eq!(ids(&format!("a,b\n{A},1\n")).unwrap_err().0, 1);
        assert_eq!(ids(&format!("id,b\n{A},\"1\n")).unwrap_err().0, 2);
        assert_eq!(parse(b"# a\n\xff\n").unwrap_err().0, 2);
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(ids_from_file(directory.path()).unwrap_err().class(), crate::error::Class::Usage);
        assert_eq!(ids_from_file(&directory.path().join("none")).unwrap_err().class(), crate::error::Class::Io);
    }
}
