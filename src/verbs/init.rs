//! `init`.

use super::print;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use crate::printable;
use std::path::Path;

const TEMPLATE: &str = include_str!("init.toml");

/// Writes a commented config; one that is there is never replaced.
pub(super) fn init(path: &Path) -> Result<u8> {
    if path.exists() {
        return Err(
            Error::usage(format!("{} is there already", path.display())).hint("name another file, or edit that one")
        );
    }
    files::write_named(path, TEMPLATE.as_bytes(), PRIVATE)?;
    print(&format!(
        "wrote {}: fill in tenant, client and log, then try `callrec --config {} check`",
        printable::field(&path.to_string_lossy()),
        printable::field(&path.to_string_lossy())
    ))
}
