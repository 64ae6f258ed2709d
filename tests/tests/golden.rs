//! Golden files of passes: each file in `passes/<pass>/` is one snapshot.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume::driver::executor::RuntimeExecutor;
use mokume_passes::registry::PASSES;
use mokume_tests::golden::check_pass;
use std::fs;
use std::path::Path;

#[test]
fn passes() {
    insta::glob!("../passes", "*/*.gir", |path| {
        let text = fs::read_to_string(path).unwrap();
        let snapshot = check_pass(&text, &RuntimeExecutor { threads: 1 }).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(snapshot) });
    });
}

/// Every folder is named after a pass, and has a file where the pass fires and one where it must not.
#[test]
fn folders_are_passes() {
    for folder in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("passes")).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        assert!(mokume_passes::registry::find(&name).is_some(), "there is no pass `{name}`");
        assert!(fs::read_dir(folder.path()).unwrap().count() >= 2, "{name} has fewer than two files");
    }
}

/// Every pass has a file where it fires and one where it must not, as their snapshots show.
#[test]
fn every_pass_fires_and_refrains() {
    let snapshots = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots")).unwrap();
    let snapshots: Vec<(String, String)> = snapshots
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    for row in PASSES {
        let prefix = format!("golden__passes@{}__", row.name);
        let of_pass = || snapshots.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, text)| text);
        assert!(of_pass().any(|text| !is_unchanged(text)), "no golden file shows what `{}` does", row.name);
        assert!(of_pass().any(|text| is_unchanged(text)), "no golden file shows where `{}` must not fire", row.name);
    }
}

fn is_unchanged(snapshot: &str) -> bool {
    snapshot.lines().any(|line| line == "unchanged")
}
