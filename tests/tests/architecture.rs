//! The rooms of the house import only what the architecture allows.

use cargo_metadata::MetadataCommand;
use std::collections::{BTreeMap, BTreeSet};

/// crate -> what it may import, as ARCHITECTURE.md says.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("mokume-ir", &[]),
    ("mokume-frontends", &["mokume-ir"]),
    ("mokume-passes", &["mokume-ir"]),
    ("mokume-runtime", &["mokume-ir"]),
    ("mokume-codegen", &["mokume-ir", "mokume-runtime"]),
    ("mokume", &["mokume-ir", "mokume-frontends", "mokume-passes", "mokume-runtime", "mokume-codegen"]),
    ("mokume-tests", &["mokume-ir", "mokume-frontends", "mokume-passes", "mokume-runtime", "mokume-codegen", "mokume"]),
];

#[test]
fn rooms_import_only_what_they_may() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ALLOWED.iter().map(|(name, deps)| (*name, deps.iter().copied().collect())).collect();
    for package in &metadata.packages {
        let Some(allowed) = allowed.get(package.name.as_str()) else { continue };
        let normal = package.dependencies.iter().filter(|dep| dep.kind == cargo_metadata::DependencyKind::Normal);
        for dependency in normal.filter(|dep| dep.name.starts_with("mokume")) {
            assert!(allowed.contains(dependency.name.as_str()), "{} must not import {}", package.name, dependency.name);
        }
    }
}

#[test]
fn the_architecture_page_shows_the_same_table() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md")).unwrap();
    for (name, imports) in ALLOWED {
        let imports = if imports.is_empty() { "–".to_string() } else { imports.join(", ") };
        let row = page.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        assert!(row.is_some_and(|row| row.contains(&imports)), "ARCHITECTURE.md has no row for {name} importing {imports}");
    }
}
