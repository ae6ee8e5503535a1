//! The Python that has the Parquet readers.

use std::process::Command;

/// The interpreter, without arguments.
///
/// # Panics
/// If none is named: no test of the readers is passed over in silence.
pub(crate) fn python() -> Command {
    let interpreter = std::env::var_os("CALLREC_TEST_PYTHON").expect(
        "CALLREC_TEST_PYTHON must name a Python with the packages of tests/requirements.txt: run `make test`, which makes one",
    );
    let mut command = Command::new(interpreter);
    // No caches in the repository.
    command.arg("-B");
    command
}
