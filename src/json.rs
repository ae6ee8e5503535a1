//! What is looked at before any parser runs: depth and size of JSON bytes.

/// Deepest nesting of objects and lists that is taken.
pub const MAX_DEPTH: usize = 64;

/// Why bytes are not handed to a parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// More than [`MAX_DEPTH`] levels.
    #[error("JSON is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More bytes than the limit.
    #[error("JSON is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("JSON is not UTF-8")]
    NotUtf8,
}

/// Text that a parser may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked<'a> {
    /// The text.
    pub text: &'a str,
    /// Whether there is white space between its tokens.
    pub is_spaced: bool,
}

/// Checks size, UTF-8 and depth, and gives the text.
///
/// # Errors
/// What the bytes violate first.
pub fn checked(bytes: &[u8], limit: usize) -> Result<&str, Unsafe> {
    looked_at(bytes, limit).map(|checked| checked.text)
}

/// As [`checked`], and says whether there is white space between tokens.
///
/// # Errors
/// What the bytes violate first.
pub fn looked_at(bytes: &[u8], limit: usize) -> Result<Checked<'_>, Unsafe> {
    let text = text(bytes, limit)?;
    let (depth, is_spaced) = scan(text);
    if depth > MAX_DEPTH { Err(Unsafe::TooDeep) } else { Ok(Checked { text, is_spaced }) }
}

/// Checks size and UTF-8, and gives the text, whose depth is not looked at.
///
/// # Errors
/// What the bytes violate first.
pub fn text(bytes: &[u8], limit: usize) -> Result<&str, Unsafe> {
    if bytes.len() > limit {
        return Err(Unsafe::TooLarge { limit });
    }
    std::str::from_utf8(bytes).map_err(|_| Unsafe::NotUtf8)
}

/// Checks the depth.
///
/// # Errors
/// [`Unsafe::TooDeep`].
pub fn check_depth(text: &str) -> Result<(), Unsafe> {
    if depth(text) > MAX_DEPTH { Err(Unsafe::TooDeep) } else { Ok(()) }
}

/// Levels of objects and lists, or [`MAX_DEPTH`] + 1 where there are more.
#[must_use]
pub fn depth(text: &str) -> usize {
    scan(text).0
}

/// The depth, and whether there is white space between tokens.
fn scan(text: &str) -> (usize, bool) {
    let (mut depth, mut deepest, mut in_string, mut escaped, mut is_spaced) = (0_usize, 0, false, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
                if depth > MAX_DEPTH {
                    return (deepest, is_spaced);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\n' | b'\r' => is_spaced = true,
            _ => {}
        }
    }
    (deepest, is_spaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        let deep = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        assert!(checked(deep.as_bytes(), 1000).is_ok());
        let deeper = format!("[{deep}]");
        assert_eq!(checked(deeper.as_bytes(), 1000), Err(Unsafe::TooDeep));
        let text = format!("\"\\\"{}\"", "[".repeat(MAX_DEPTH * 2));
        assert!(checked(text.as_bytes(), 1000).is_ok());
    }

    #[test]
    fn white_space_counts_outside_strings() {
        for (text, spaced) in [
            (r#"{"a b":"c\" d"}"#, false),
            ("{\"a\": 1}", true),
            ("[1,\n2]", true),
            ("\t1", true),
            ("1\r", true),
            (r#""\\" "#, true),
        ] {
            assert_eq!(looked_at(text.as_bytes(), 100).map(|checked| checked.is_spaced), Ok(spaced), "{text}");
        }
    }

    #[test]
    fn size_and_utf8_are_checked() {
        assert_eq!(checked(b"[]", 1), Err(Unsafe::TooLarge { limit: 1 }));
        assert_eq!(checked(b"\"\xff\"", 10), Err(Unsafe::NotUtf8));
    }
}
