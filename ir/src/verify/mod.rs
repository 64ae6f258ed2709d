//! The verifier: lists every broken invariant of a module, or gives the proof that there is none.
//!
//! # Checked
//!
//! Structure (when something is wrong here, the rest is not checked, because it could not be):
//! - every id that a graph mentions exists: values, live nodes, constants, functions; the entry exists;
//! - a value's definition and its definer point at each other; operands are defined by something live;
//! - use lists hold exactly the operands and outputs that read a value;
//! - graphs have no cycle, and functions no recursion.
//!
//! Constants: every dimension is a number; data has the size the type asks for; strings are UTF-8; scales and zero points
//! are there exactly for quantized types, as many as the granularity says; levels and granularity fit bits and shape. A
//! value that is a constant has the constant's type.
//!
//! Ports: input names of the entry are unique, and so are its output names. States belong to the entry, name existing
//! ports, each at most once; both ports have one type, but for the size along the growing axis.
//!
//! Types: operands fit every op ([`infer`](crate::infer) agrees), and the declared types of results *agree* with the inferred ones:
//! same number of results, same element types, same rank where both are known, and no axis on which the two sizes are
//! provably different, that is, differ by a number other than 0 in normal form. So a declared type may know more than
//! inference (the model says so, the run checks it) or less (a rewrite forgot), but never contradict it.
//!
//! # Not checked
//!
//! The contents of constants beyond their size (codes above the last of five or three levels, bools other than 0 and 1,
//! the hash), claims of declared types that inference cannot decide, and termination of loops.

mod constants;
mod functions;
mod ports;
mod structure;
mod types;

use crate::diag::{Diagnostic, Report};
use crate::graph::{Graph, Module, Node};
use crate::ids::NodeId;

/// The proof that a module holds every invariant above.
#[derive(Debug, Clone, Copy)]
pub struct Verified<'m>(&'m Module);

impl<'m> Verified<'m> {
    /// The module.
    pub fn module(self) -> &'m Module {
        self.0
    }
}

/// Checks every invariant.
///
/// Errors  all violations.
pub fn verify(module: &Module) -> Result<Verified<'_>, Report> {
    check(module, false)
}

/// As [`verify`], for a module whose quantized constants may be without data and scales, as kernels hold them.
///
/// Errors  all violations.
pub fn verify_compiled(module: &Module) -> Result<Verified<'_>, Report> {
    check(module, true)
}

fn check(module: &Module, compiled: bool) -> Result<Verified<'_>, Report> {
    let mut findings = Vec::new();
    structure::check(module, &mut findings);
    if findings.is_empty() {
        functions::check(module, &mut findings);
    }
    if findings.is_empty() {
        constants::check(module, compiled, &mut findings);
        ports::check(module, &mut findings);
        types::check(module, &mut findings);
    }
    match Report::from_findings(findings) {
        Some(report) => Err(report),
        None => Ok(Verified(module)),
    }
}

/// An error at a node.
fn at_node(graph: &Graph, (id, node): (NodeId, &Node), code: &'static str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::input(code, message).at(format!("{id}, {node}, in \"{}\"", graph.name))
}

/// An error in a graph.
fn in_graph(graph: &Graph, code: &'static str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::input(code, message).at(format!("\"{}\"", graph.name))
}
