//! The local file system: the only place that makes, renames and syncs files.
//!
//! Every file gets its mode whatever the umask is, no link is followed and no FIFO
//! waited for below the root, nothing that exists is overwritten by surprise, and
//! what must survive a power loss is synced together with its directory.

use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Permission bits of files and of the directories above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Of a file.
    pub file: u32,
    /// Of a directory.
    pub directory: u32,
}

/// What only the owner may see: raw records and state.
pub const PRIVATE: Modes = Modes { file: 0o600, directory: 0o700 };

impl Modes {
    /// Modes for readers: `file` as given, directories with the search bit
    /// wherever the file has the read bit.
    #[must_use]
    pub const fn shared(file: u32) -> Self {
        Self { file, directory: file | ((file & 0o444) >> 2) }
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Lets an open neither follow a link nor wait for the other end of a FIFO, and
/// gives what it makes no more than `mode` from the first moment on.
#[cfg(unix)]
fn careful(options: &mut OpenOptions, mode: u32) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).mode(mode)
}

#[cfg(not(unix))]
fn careful(options: &mut OpenOptions, _mode: u32) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(mode).create(path)
}

#[cfg(not(unix))]
fn make_directory(path: &Path, _mode: u32) -> io::Result<()> {
    fs::create_dir(path)
}

#[cfg(unix)]
fn names(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn names(_metadata: &fs::Metadata) -> u64 {
    1
}

/// The error for what callrec would not have made.
fn planted(path: &Path, what: &str) -> Error {
    Error::config(format!("{} is {what}", path.display()))
        .hint("callrec makes none below the output root: find out who did, take it away and run again")
}

/// Opens what must be a regular file under its own name.
fn open_plain(options: &mut OpenOptions, mode: u32, path: &Path, action: &str) -> Result<Option<File>> {
    let file = match careful(options, mode).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) if fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()) => {
            return Err(planted(path, "a symbolic link"));
        }
        Err(e) => return Err(Error::io(action, path, e)),
    };
    let metadata = file.metadata().map_err(|e| Error::io(action, path, e))?;
    if !metadata.is_file() {
        return Err(planted(path, "no regular file"));
    }
    Ok(Some(file))
}

/// The file at `path` for reading; `None` if it is missing.
fn open_to_read(path: &Path) -> Result<Option<File>> {
    open_plain(OpenOptions::new().read(true), 0, path, "open")
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

/// Refuses what is there and is no real directory: a link would lead writes and
/// removals out of the dataset.
///
/// # Errors
/// By class configuration when it is something else; any failure of the file
/// system but that it is missing.
pub fn check_directory(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(metadata) if metadata.is_symlink() => Err(planted(path, "a symbolic link")),
        Ok(_) => Err(planted(path, "no directory")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("look at", path, e)),
    }
}

/// Takes a directory that others may enter, as a copy or a restored backup may
/// be, from them again.
///
/// # Errors
/// Any failure of the file system but that it is missing.
pub fn make_private(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() && metadata.permissions().mode() & 0o077 != 0 => {
                set_mode(path, PRIVATE.directory).map_err(|e| Error::io("set the mode of", path, e))?;
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("look at", path, e)),
            _ => {}
        }
    }
    let _ = path;
    Ok(())
}

/// Makes `path` and what is missing above it, each with the directory's mode,
/// and syncs every new entry into its parent.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn create_directory(path: &Path, modes: Modes) -> Result<()> {
    create_missing(path, modes, &sync_directory)
}

/// As [`create_directory`] for one in staging, where all is synced at the end:
/// [`sync_directories`].
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn create_unsynced_directory(path: &Path, modes: Modes) -> Result<()> {
    create_missing(path, modes, &|_| Ok(()))
}

fn create_missing(path: &Path, modes: Modes, sync: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or_else(|| Path::new(""));
    create_missing(parent, modes, sync)?;
    match make_directory(path, modes.directory) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(e) => return Err(Error::io("make the directory", path, e)),
    }
    set_mode(path, modes.directory).map_err(|e| Error::io("set the mode of", path, e))?;
    sync(parent)
}

/// Makes a new file; one that exists, and a link in its place, is refused.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn create_file(path: &Path, modes: Modes) -> Result<File> {
    let file = careful(OpenOptions::new().read(true).write(true).create_new(true), modes.file)
        .open(path)
        .map_err(|e| Error::io("create", path, e))?;
    set_mode(path, modes.file).map_err(|e| Error::io("set the mode of", path, e))?;
    Ok(file)
}

/// Opens a file for appending, and makes it where it is missing.
///
/// # Errors
/// By class configuration when it is a link, has a second name elsewhere, or is
/// no file; any failure of the file system, by class I/O.
pub fn append_file(path: &Path, modes: Modes) -> Result<File> {
    let mut options = OpenOptions::new();
    let Some(file) = open_plain(options.read(true).append(true), modes.file, path, "open")? else {
        return create_file(path, modes);
    };
    if file.metadata().is_ok_and(|metadata| names(&metadata) > 1) {
        return Err(planted(path, "a file with a second name"));
    }
    Ok(file)
}

/// Writes the whole of `path` in one step: a temporary file beside it, synced,
/// renamed over it, and the directory synced.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn write_atomically(path: &Path, bytes: &[u8], modes: Modes) -> Result<()> {
    write_atomically_past(path, bytes, modes, "file::renaming")
}

/// As [`write_atomically`], with a crash point between the temporary file and
/// its rename.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn write_atomically_past(path: &Path, bytes: &[u8], modes: Modes, point: &'static str) -> Result<()> {
    let temporary = path.with_extension("tmp");
    remove_if_there(&temporary)?;
    let mut file = create_file(&temporary, modes)?;
    file.write_all(bytes).map_err(|e| Error::io("write", &temporary, e))?;
    file.sync_all().map_err(|e| Error::io("sync", &temporary, e))?;
    crash_point(point)?;
    rename(&temporary, path)?;
    sync_directory(path.parent().unwrap_or_else(|| Path::new("")))
}

/// As [`write_atomically`] for a path that a user names, where a file of the
/// temporary name may be somebody's. A device or a FIFO is written to as it is.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn write_named(path: &Path, bytes: &[u8], modes: Modes) -> Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let mut there = OpenOptions::new().write(true).open(path).map_err(|e| Error::io("open", path, e))?;
        return there.write_all(bytes).map_err(|e| Error::io("write", path, e));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let mut file = create_file(&temporary, modes)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| Error::io("write", path, e));
    if let Err(error) = written.and_then(|()| rename(&temporary, path)) {
        remove_if_there(&temporary)?;
        return Err(error);
    }
    sync_directory(path.parent().unwrap_or_else(|| Path::new("")))
}

/// Renames a file over another; the caller syncs the directories.
///
/// # Errors
/// Any failure of the file system, by class I/O.
#[expect(clippy::disallowed_methods, reason = "the home of renames")]
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::io("put in place", to, e))
}

/// Removes a file if it is there, and says whether it was.
///
/// # Errors
/// Any failure of the file system but that it is missing.
pub fn remove_if_there(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

/// Removes a directory with all that is in it, if it is there; of something else
/// in its place, such as a link, only that.
///
/// # Errors
/// Any failure of the file system but that it is missing.
pub fn remove_directory(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|m| !m.is_dir()) {
        remove_if_there(path)?;
        return Ok(());
    }
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

/// Syncs a directory, so that its entries survive a power loss.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn sync_directory(path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    if cfg!(windows) {
        // Windows has no handle of a directory that can be flushed; NTFS
        // journals its entries.
        return Ok(());
    }
    File::open(path).and_then(|d| d.sync_all()).map_err(|e| Error::io("sync", path, e))
}

/// Syncs `top`, and below it each directory that one of `files` lies in or under.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn sync_directories<'a>(files: impl Iterator<Item = &'a Path>, top: &Path) -> Result<()> {
    let above = |file: &'a Path| file.ancestors().skip(1).take_while(|directory| directory.starts_with(top));
    files.flat_map(above).chain([top]).collect::<BTreeSet<_>>().into_iter().try_for_each(sync_directory)
}

/// Syncs a file that was written and closed.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync", path, e))
}

/// Opens a file of the dataset for reading.
///
/// # Errors
/// By class configuration when it is a link or no regular file; any failure of
/// the file system, by class I/O.
pub fn open(path: &Path) -> Result<File> {
    open_to_read(path)?.ok_or_else(|| Error::io("open", path, missing()))
}

/// Whether there is something at `path`. A failure to look is no "no": what is
/// rewritten without its old rows would lose them.
///
/// # Errors
/// Any failure of the file system but that it is missing.
pub fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|e| Error::io("look for", path, e))
}

/// The size of a file in bytes.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn size(path: &Path) -> Result<u64> {
    fs::metadata(path).map(|metadata| metadata.len()).map_err(|e| Error::io("look at", path, e))
}

/// What a path leads to, without links.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn resolved(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(|e| Error::io("read", path, e))
}

/// Whether another file system begins at a directory.
///
/// # Errors
/// Any failure of the file system, by class I/O.
#[cfg(unix)]
pub fn is_mount_point(directory: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|of| of.dev()).map_err(|e| Error::io("look at", path, e));
    Ok(device(directory)? != device(&directory.join(".."))?)
}

/// Whether another file system begins at a directory.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub const fn is_mount_point(_directory: &Path) -> Result<bool> {
    Ok(false)
}

/// Reads a whole file of the dataset; `None` if it is missing.
///
/// # Errors
/// As [`open`], but that it is missing.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(mut file) = open_to_read(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    Ok(Some(bytes))
}

/// The entries of a directory, sorted by name; none if it is missing.
///
/// # Errors
/// Any failure of the file system but that it is missing.
pub fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", path, e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.map_err(|e| Error::io("list", path, e))?.path());
    }
    found.sort();
    Ok(found)
}

/// The size of a file in bytes and its SHA-256 in hex; `None` if it is missing.
///
/// # Errors
/// As [`open`], but that it is missing.
pub fn digest(path: &Path) -> Result<Option<(u64, String)>> {
    let Some(mut file) = open_to_read(path)? else { return Ok(None) };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer).map_err(|e| Error::io("read", path, e))?;
        if read == 0 {
            return Ok(Some((size, hex(&hasher.finalize()))));
        }
        size += read as u64;
        hasher.update(&buffer[..read]);
    }
}

/// Bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_mount_point_is_told_from_a_directory() {
        let home = tempfile::tempdir().unwrap();
        create_directory(&home.path().join("a"), PRIVATE).unwrap();
        assert!(!is_mount_point(&home.path().join("a")).unwrap());
        assert!(is_mount_point(Path::new("/proc")).unwrap());
    }

    #[test]
    #[cfg(unix)]
    fn modes_hold_whatever_the_umask_is() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        create_directory(&directory, Modes::shared(0o640)).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o750);
        assert_eq!(mode(&home.path().join("a")), 0o750);
        write_atomically(&directory.join("f.json"), b"x", PRIVATE).unwrap();
        assert_eq!(mode(&directory.join("f.json")), 0o600);
    }

    #[test]
    #[cfg(unix)]
    fn a_planted_link_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let victim = home.path().join("victim");
        let link = home.path().join("part.parquet");
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert!(create_file(&link, PRIVATE).is_err());
        assert!(!victim.exists());
    }

    #[test]
    fn a_digest_is_of_the_bytes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        assert_eq!(digest(&path).unwrap(), None);
        write_atomically(&path, b"abc", PRIVATE).unwrap();
        let (size, sha) = digest(&path).unwrap().unwrap();
        assert_eq!(size, 3);
        assert_eq!(sha, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
