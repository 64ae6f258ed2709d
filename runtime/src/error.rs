//! Findings of a run: what an op, a function or an input did wrong, with the user's names.

use crate::ops::OpError;
use mokume_ir::diag::Diagnostic;
use mokume_ir::graph::Node;

/// The finding that `node` did not run.
pub(crate) fn of_op(node: &Node, error: OpError) -> Diagnostic {
    let message = format!("{}: {error}", node.op.name());
    let finding = match error {
        OpError::Operands(_) => Diagnostic::input("run::op::operands", message),
        OpError::Unsupported(_) => Diagnostic::unsupported("run::op::unsupported", message),
    };
    finding.at(node.loc.to_string())
}

/// The finding that `node` gave what its type does not allow.
pub(crate) fn of_result(node: &Node, message: String) -> Diagnostic {
    Diagnostic::input("run::op::result", format!("{}: {message}", node.op.name())).at(node.loc.to_string())
}

/// The name among `names` nearest to `wanted`, when it is near enough to be meant.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|name| (distance(wanted, name), name));
    scored.min_by_key(|scored| scored.0).filter(|&(score, name)| score <= wanted.len().max(name.len()) / 2).map(|scored| scored.1)
}

/// Edit distance, letters compared without case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &b) in b.iter().enumerate() {
            let replace = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_near() {
        assert_eq!(nearest("Input_id", ["attention_mask", "input_ids"]), Some("input_ids"));
        assert_eq!(nearest("zzz", ["attention_mask", "input_ids"]), None);
    }
}
