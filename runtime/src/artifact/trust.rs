//! Whether the native code in a file may run: checksums tell damage, not intent.

use mokume_ir::diag::{Diagnostic, Report};
use std::fs::File;

/// Which native code is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// That of files which belong to this user or to root and which not everybody may write. Bytes in memory are the
    /// caller's own.
    #[default]
    Owner,
    /// That of every file.
    Always,
    /// None: kernels are read, for inspection, but not loaded; nodes that need them do not run.
    Never,
}

/// Whether the owner of `file` vouches for its code.
///
/// Errors  saying why the file is not trusted.
#[cfg(unix)]
pub(super) fn check_owner(file: &File) -> Result<(), Report> {
    use std::os::unix::fs::MetadataExt;
    let user = std::fs::metadata("/proc/self").map(|own| own.uid());
    let (Ok(meta), Ok(user)) = (file.metadata(), user) else { return Err(refused("its owner is not known".into())) };
    if meta.uid() != user && meta.uid() != 0 {
        return Err(refused(format!("it belongs to user {}, not to {user}", meta.uid())));
    }
    if meta.mode() & 0o002 != 0 {
        return Err(refused("everybody may write it".into()));
    }
    Ok(())
}

/// Whether the owner of `file` vouches for its code: not known here.
#[cfg(not(unix))]
pub(super) fn check_owner(_file: &File) -> Result<(), Report> {
    Err(refused("its owner is not known".into()))
}

fn refused(why: String) -> Report {
    let finding = Diagnostic::input("artifact::untrusted", format!("the file holds native code and is not trusted: {why}"));
    finding.help("chown and chmod the file after checking where it comes from, or run with: mokume-run --trust").into()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_everybody_may_write_is_not_trusted() {
        let file = tempfile::tempfile().unwrap();
        assert!(check_owner(&file).is_ok());
        file.set_permissions(std::fs::Permissions::from_mode(0o666)).unwrap();
        let report = check_owner(&file).unwrap_err().to_string();
        assert!(report.contains("everybody may write it"), "{report}");
    }
}
