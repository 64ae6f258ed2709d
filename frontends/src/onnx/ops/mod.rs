//! One handler per ONNX operator, a file per family; [`find`] is the registry.

pub mod activation;
pub mod attention;
pub mod cast;
pub mod constant;
pub mod contraction;
pub mod control;
pub mod conv;
pub mod detect;
pub mod elementwise;
pub mod index;
pub mod loss;
pub mod norm;
pub mod pool;
pub mod quantize;
pub mod recurrent;
pub mod reduce;
pub mod resize;
pub mod shape;
pub mod signal;

use super::cx::{Cx, Fault, Outcome};
use mokume_ir::diag::nearest;

/// Turns a node into core ops.
pub type Handler = fn(&mut Cx<'_, '_, '_>) -> Outcome;

/// One row of a family's table: operator and handler.
pub type Row = (&'static str, Handler);

/// Families of the default domain.
const FAMILIES: &[&[Row]] = &[
    activation::ROWS,
    cast::ROWS,
    signal::ROWS,
    quantize::ROWS,
    loss::ROWS,
    detect::ROWS,
    attention::ROWS,
    constant::ROWS,
    contraction::ROWS,
    control::ROWS,
    conv::ROWS,
    elementwise::ROWS,
    index::ROWS,
    norm::ROWS,
    pool::ROWS,
    recurrent::ROWS,
    reduce::ROWS,
    resize::ROWS,
    shape::ROWS,
];

/// The handler of an operator.
///
/// Errors  `Fault::Unsupported` when there is none.
pub fn find(domain: &str, op_type: &str) -> Result<Handler, Fault> {
    if !domain.is_empty() {
        return Err(Fault::unsupported(format!("operators of the domain \"{domain}\" are not supported")));
    }
    let rows = || FAMILIES.iter().flat_map(|rows| rows.iter());
    match rows().find(|row| row.0 == op_type) {
        Some(row) => Ok(row.1),
        None => Err(no_operator(nearest(op_type, rows().map(|row| row.0)))),
    }
}

fn no_operator(near: Option<&str>) -> Fault {
    Fault::unsupported(match near {
        Some(near) => format!("the operator is not supported; \"{near}\" is"),
        None => "the operator is not supported".into(),
    })
}

/// The name of a domain in messages.
pub fn domain_name(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}
