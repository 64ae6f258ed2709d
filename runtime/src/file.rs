//! Files: written whole or not at all, under a temporary name beside their place that then becomes theirs; and what is said when
//! that does not work.

use mokume_ir::diag::{Diagnostic, Report, nearest};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::NamedTempFile;

/// How temporary files begin and end; only a process that is killed outright leaves one behind.
const AFFIXES: (&str, &str) = (".mokume-", ".part");

/// Temporary files of all writes in progress. Making, publishing and removing one happens under this lock.
static PARTS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Writes a file; `path` holds all of it in the end, or what it held before. What is not a regular file, such as a pipe, is
/// written to directly.
///
/// Errors  `file::unwritable`.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Report> {
    write_whole(path, fill).map_err(|error| unwritable(path, &error))
}

/// Whether there is such a file; to be asked before other arguments are judged.
///
/// Errors  as [`read`].
pub fn check_readable(path: &Path) -> Result<(), Report> {
    let found = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if found.is_dir() { Err(unreadable(path, &io::ErrorKind::IsADirectory.into())) } else { Ok(()) }
}

/// What a file holds.
///
/// Errors  `file::missing`, `file::unreadable`.
pub fn read(path: &Path) -> Result<Vec<u8>, Report> {
    fs::read(path).map_err(|error| unreadable(path, &error))
}

/// Removes the temporary files of all writes in progress and lets none of them finish, so that they hang. For a program that
/// is told to end and ends right after.
pub fn abandon_writes() {
    let parts = parts();
    for part in parts.iter() {
        // There is nobody left to tell that it is gone already.
        let _ = fs::remove_file(part);
    }
    std::mem::forget(parts);
}

/// The report that a file cannot be read; one that is missing gets the nearest name beside it.
pub fn unreadable(path: &Path, error: &io::Error) -> Report {
    if error.kind() == io::ErrorKind::NotFound {
        let finding = Diagnostic::input("file::missing", format!("there is no file {}", path.display()));
        return match nearest_sibling(path) {
            Some(near) => finding.help(format!("did you mean {}?", near.display())).into(),
            None => finding.help("check the path").into(),
        };
    }
    let why = if error.kind() == io::ErrorKind::IsADirectory { "it is a folder".into() } else { reason(error) };
    let finding = Diagnostic::input("file::unreadable", format!("cannot read {}: {why}", path.display()));
    finding.help("give a file that you may read").into()
}

/// The report that a file cannot be written.
pub fn unwritable(path: &Path, error: &io::Error) -> Report {
    let folder = folder(path);
    let (why, help) = match error.kind() {
        io::ErrorKind::NotFound if !folder.exists() => {
            (format!("there is no folder {}", folder.display()), format!("mkdir -p {}", folder.display()))
        }
        io::ErrorKind::IsADirectory => ("it is a folder".into(), format!("name a file: {}", path.join("FILE").display())),
        io::ErrorKind::NotADirectory => (format!("{} is no folder", folder.display()), "choose another place".into()),
        _ => (reason(error), "choose another place, or check its permissions and the space left".into()),
    };
    Diagnostic::input("file::unwritable", format!("cannot write {}: {why}", path.display())).help(help).into()
}

/// Makes a folder for results, with the folders above it.
///
/// Errors  `file::unwritable`.
pub fn make_folder(path: &Path) -> Result<(), Report> {
    fs::create_dir_all(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            let message = format!("cannot make the folder {}: a file is in its place", path.display());
            Diagnostic::input("file::unwritable", message).help("choose another folder").into()
        }
        _ => unwritable(path, &error),
    })
}

/// Whether a file could be written to `path` as far as its folder tells; to be asked before long work.
///
/// Errors  as [`unwritable`].
pub fn check_writable(path: &Path) -> Result<(), Report> {
    let found = if path.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { fs::metadata(folder(path)) };
    match found {
        Ok(folder) if folder.is_dir() => Ok(()),
        Ok(_) => Err(unwritable(path, &io::ErrorKind::NotADirectory.into())),
        Err(error) => Err(unwritable(path, &error)),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the system says, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

fn nearest_sibling(path: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(folder(path)).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.collect();
    let near = nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near))
}

fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // A link stays a link: what it leads to is replaced.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if fs::metadata(&place).is_ok_and(|found| !found.is_file()) {
        return fill(&File::options().write(true).open(&place)?, write);
    }
    let part = begin(&place)?;
    let filled = fill(part.as_file(), write);
    let mut parts = parts();
    parts.retain(|other| other != part.path());
    filled.and_then(|()| part.persist(&place).map(drop).map_err(|error| error.error))
}

/// A temporary file beside `place`, registered.
fn begin(place: &Path) -> io::Result<NamedTempFile> {
    let mut parts = parts();
    let part = usual_mode(tempfile::Builder::new().prefix(AFFIXES.0).suffix(AFFIXES.1)).tempfile_in(folder(place))?;
    parts.push(part.path().to_path_buf());
    Ok(part)
}

fn parts() -> MutexGuard<'static, Vec<PathBuf>> {
    PARTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mode of files written in the usual way, which the user's mask narrows; temporary files are private otherwise.
#[cfg(unix)]
fn usual_mode<'b, 'p, 's>(builder: &'b mut tempfile::Builder<'p, 's>) -> &'b mut tempfile::Builder<'p, 's> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn usual_mode<'b, 'p, 's>(builder: &'b mut tempfile::Builder<'p, 's>) -> &'b mut tempfile::Builder<'p, 's> {
    builder
}

fn fill(file: &File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write(&path, |out| out.write_all(b"new").and(Err(io::Error::other("No space left (os error 28)"))));
        assert!(failed.unwrap_err().to_string().contains("/f: no space left\n  help: choose another place"));
        assert_eq!(read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_without_a_place_is_refused_before_work() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no/f");
        let report = check_writable(&path).unwrap_err();
        assert_eq!(report, write(&path, |_| Ok(())).unwrap_err());
        let absent = folder.path().join("no");
        let expected = format!(
            "error[file::unwritable]: cannot write {}: there is no folder {}\n  help: mkdir -p {}",
            path.display(),
            absent.display(),
            absent.display()
        );
        assert_eq!(report.to_string(), expected);
        assert!(check_writable(folder.path()).unwrap_err().to_string().contains(": it is a folder\n"));
        assert!(check_writable(&folder.path().join("f")).is_ok());
    }

    #[test]
    fn a_missing_file_gets_the_nearest_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.onnx"), "").unwrap();
        let report = read(&folder.path().join("modle.onnx")).unwrap_err().to_string();
        assert!(report.starts_with("error[file::missing]: there is no file ") && report.contains("/model.onnx?"), "{report}");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write(&link, |out| out.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        write(Path::new("/dev/null"), |out| out.write_all(b"gone")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
