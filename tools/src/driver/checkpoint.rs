//! A folder in which long passes keep what they finished.

use mokume_ir::diag::Report;
use mokume_passes::checkpoint::Checkpoint;
use mokume_runtime::file;
use std::path::PathBuf;

/// A folder with a file for every name.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, made if it is not there.
    ///
    /// Errors  `file::unwritable`.
    pub fn open(path: PathBuf) -> Result<Self, Report> {
        file::make_folder(&path)?;
        Ok(Folder { path })
    }
    fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.bin"))
    }
}

impl Checkpoint for Folder {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Report> {
        let path = self.file(name);
        if path.exists() { file::read(&path).map(Some) } else { Ok(None) }
    }
    fn store(&self, name: &str, data: &[u8]) -> Result<(), Report> {
        file::write(&self.file(name), |out| out.write_all(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::open(scratch.path().join("a/b")).unwrap();
        assert_eq!(folder.load("x").unwrap(), None);
        folder.store("x", b"one").unwrap();
        folder.store("x", b"two").unwrap();
        assert_eq!(folder.load("x").unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(std::fs::read_dir(scratch.path().join("a/b")).unwrap().count(), 1, "no temporary is left");
    }
}
