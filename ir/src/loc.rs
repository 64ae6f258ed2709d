//! Provenance: which of the user's nodes a node comes from, and the pass that made it.

use std::fmt;
use std::sync::Arc;

/// Where a node comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Loc {
    /// Names of the user's nodes, sorted, unique; empty when mokume made it from nothing.
    pub names: Arc<[Arc<str>]>,
}

impl Loc {
    /// One user node.
    pub fn name(name: impl AsRef<str>) -> Self {
        Loc { names: Arc::new([Arc::from(name.as_ref())]) }
    }
    /// From several nodes.
    pub fn merge<'a>(locs: impl IntoIterator<Item = &'a Loc>) -> Self {
        let mut names: Vec<Arc<str>> = locs.into_iter().flat_map(|loc| loc.names.iter().cloned()).collect();
        names.sort();
        names.dedup();
        Loc { names: names.into() }
    }
    /// The first name, for short messages.
    pub fn first(&self) -> Option<&str> {
        self.names.first().map(AsRef::as_ref)
    }
}

/// `"a"`, `"a" and 3 more`
impl fmt::Display for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.names[..] {
            [] => f.write_str("an unnamed node"),
            [only] => write!(f, "\"{only}\""),
            [first, rest @ ..] => write!(f, "\"{first}\" and {} more", rest.len()),
        }
    }
}
