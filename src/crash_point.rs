//! Named places where the crash tests end the process or let a step fail.
//!
//! Builds without the feature `failpoints` hold none of this.

use crate::error::Result;

/// Does nothing, unless the crash tests have armed `name` in `FAILPOINTS`:
/// `return(error)` fails here as a full disk would, `return(panic)` panics,
/// `return(abort)` ends the process as a SIGKILL would, `return(wait)` says so on
/// stderr and waits to be killed.
///
/// # Errors
/// By class I/O, where that is armed.
#[inline]
pub fn crash_point(name: &'static str) -> Result<()> {
    #[cfg(feature = "failpoints")]
    fail::fail_point!(name, |how| armed(name, how.as_deref()));
    let _ = name;
    Ok(())
}

#[cfg(feature = "failpoints")]
fn armed(name: &str, how: Option<&str>) -> Result<()> {
    match how {
        Some("error") => Err(crate::error::Error::new(crate::error::Class::Io, format!("The test lets {name} fail"))),
        Some("panic") => panic!("the test panics at {name}"),
        Some("wait") => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "crash point {name}");
            loop {
                std::thread::park();
            }
        }
        _ => std::process::abort(),
    }
}
