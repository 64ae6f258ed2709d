//! Diagnostics: what is wrong, where, and what to do; collected in reports. Names that were meant are found by [`nearest`].

use std::fmt;

/// Whose move it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The user's model, file or command is wrong: exit 1.
    Input,
    /// Correct, but not supported yet: exit 2.
    Unsupported,
    /// A comparison or check the user asked for failed: exit 3.
    Check,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, `area::subject::what`.
    pub code: &'static str,
    /// Whose move it is.
    pub severity: Severity,
    /// What is wrong, with names; lower case, no full stop.
    pub message: String,
    /// Where: a node's provenance, a file and byte or line.
    pub place: Option<String>,
    /// An action that works when pasted.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding about the user's input.
    pub fn input(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { code, severity: Severity::Input, message: message.into(), place: None, help: None }
    }
    /// A finding about something not supported yet.
    pub fn unsupported(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Unsupported, ..Diagnostic::input(code, message) }
    }
    /// A failed check.
    pub fn check(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Check, ..Diagnostic::input(code, message) }
    }
    /// With a place.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }
    /// With the name of a file before its place: `m.gir:3:7`, `m.onnx, byte 2`.
    pub fn within(self, file: &str) -> Self {
        let place = match &self.place {
            Some(place) if place.starts_with(|first: char| first.is_ascii_digit()) => format!("{file}:{place}"),
            Some(place) => format!("{file}, {place}"),
            None => file.to_string(),
        };
        self.at(place)
    }
    /// With advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        if let Some(place) = &self.place {
            write!(f, "\n  at: {place}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// One or more findings; the error type at the borders of every room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report(Vec<Diagnostic>);

impl Report {
    /// A report of these findings, or none when there are none.
    pub fn from_findings(findings: Vec<Diagnostic>) -> Option<Self> {
        (!findings.is_empty()).then_some(Report(findings))
    }
    /// The findings, at least one.
    pub fn findings(&self) -> &[Diagnostic] {
        &self.0
    }
    /// With the name of a file before the place of every finding.
    pub fn within(self, file: &str) -> Self {
        Report(self.0.into_iter().map(|finding| finding.within(file)).collect())
    }
    /// The mildest severity that explains all: input errors first.
    pub fn severity(&self) -> Severity {
        self.0.iter().map(|d| d.severity).min().unwrap_or(Severity::Input)
    }
}

impl From<Diagnostic> for Report {
    fn from(diagnostic: Diagnostic) -> Self {
        Report(vec![diagnostic])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// The name of `names` that `word` was probably meant to be: fewest letters away, if few are enough.
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let word: Vec<char> = lowercase(word);
    let (distance, name) = names.into_iter().map(|name| (distance(&word, &lowercase(name)), name)).min()?;
    (distance <= 1 + word.len() / 4 && distance < word.len()).then_some(name)
}

/// The beginning, without case: names are not longer in earnest.
fn lowercase(name: &str) -> Vec<char> {
    name.chars().flat_map(char::to_lowercase).take(128).collect()
}

/// Letters to insert, remove, replace, or swap with the next.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last = before.clone();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        (before, last, row) = (last, row, before);
        row[0] = i;
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && (a[i - 1], a[i - 2]) == (b[j - 2], b[j - 1]) {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_near() {
        let ops = ["matmul", "softmax", "dce"];
        assert_eq!(nearest("matmull", ops), Some("matmul"));
        assert_eq!(nearest("sofmax", ops), Some("softmax"));
        assert_eq!(nearest("Dec", ops), Some("dce"));
        assert_eq!(nearest("frobnicate", ops), None);
        assert_eq!(nearest("b", ["a", "w"]), None);
        assert_eq!(nearest("", ops), None);
    }
}
