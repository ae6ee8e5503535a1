//! `init`.

use super::print;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use std::path::Path;

const TEMPLATE: &str = include_str!("init.toml");

/// Writes a commented config; one that is there is never replaced.
pub(super) fn init(path: &Path) -> Result<u8> {
    if path.exists() {
        return Err(
            Error::usage(format!("{} is there already", path.display())).hint("name another file, or edit that one")
        );
    }
    files::write_atomically(path, TEMPLATE.as_bytes(), PRIVATE)?;
    print(&format!(
        "wrote {}: fill in tenant, client and log, then try `callrec --config {} check`",
        path.display(),
        path.display()
    ))
}
