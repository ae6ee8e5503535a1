//! One error type, classified once for exit code and message.

use std::fmt;
use std::path::Path;

/// What an error means for the process. Each class has one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The command line is wrong.
    Usage,
    /// The configuration, or the state on disk, cannot be used.
    Config,
    /// Authentication or permission.
    Access,
    /// Reading or writing local files failed.
    Io,
    /// Temporary: run again later.
    Temporary,
}

impl Class {
    /// The exit code of a process that ends with an error of this class.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Config => 78,
            Self::Access => 77,
            Self::Io => 74,
            Self::Temporary => 75,
        }
    }

    /// How the summary of what such an error ended says so.
    #[must_use]
    pub const fn status(self) -> &'static str {
        match self {
            Self::Temporary => "temporary",
            Self::Usage | Self::Config | Self::Access | Self::Io => "failed",
        }
    }
}

/// What failed, on what, why, and what to do next.
///
/// Messages never hold a token, a name, a number, an address or the content of
/// a record.
#[derive(Debug)]
pub struct Error {
    class: Class,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything that can end a run.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `class`; `message` is a sentence without full stop.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None, source: None }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Class::Usage, message)
    }

    /// The configuration or the state on disk cannot be used.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Class::Config, message)
    }

    /// Authentication or permission.
    pub fn access(message: impl Into<String>) -> Self {
        Self::new(Class::Access, message)
    }

    /// Temporary: run again later.
    pub fn temporary(message: impl Into<String>) -> Self {
        Self::new(Class::Temporary, message)
    }

    /// `action` (as in "write") failed on the file or folder `path`.
    pub fn io(action: &str, path: &Path, source: std::io::Error) -> Self {
        let hint = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                "free space on that file system and run again: nothing that was committed is touched"
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                "let the user that runs callrec read and write there, then run again"
            }
            _ => "mend the cause and run again",
        };
        Self {
            class: Class::Io,
            message: format!("cannot {action} {}", path.display()),
            hint: Some(hint.to_owned()),
            source: Some(Box::new(source)),
        }
    }

    /// What the operator can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error underneath.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The class that decides the exit code.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
