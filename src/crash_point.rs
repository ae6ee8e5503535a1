//! Named places where the crash tests stop the process.
//!
//! Builds without the feature `failpoints` hold none of this.

/// Stops here for ever when the crash tests have armed `name`, so that they
/// can kill the process at this very step.
#[inline]
pub fn crash_point(name: &'static str) {
    #[cfg(feature = "failpoints")]
    {
        fail::fail_point!(name, |_| {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "crash point {name}");
            loop {
                std::thread::park();
            }
        });
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}
