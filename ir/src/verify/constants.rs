//! Constants have the size that their types ask for.

use super::in_graph;
use crate::constant::{Constant, QuantData, packed_bytes};
use crate::diag::Diagnostic;
use crate::graph::Module;
use crate::ids::ConstId;
use crate::quant::{Granularity, QuantType};
use crate::text::number::Numbers;
use crate::types::{Elem, Type};

/// Checks every mentioned constant, and the types of values that are constants. Quantized constants of a compiled module
/// may be without data.
pub fn check(module: &Module, compiled: bool, findings: &mut Vec<Diagnostic>) {
    for id in Numbers::new(module).constants {
        if compiled && module.constants[id].is_released() {
            continue;
        }
        let mut error = |code, message: String| findings.push(Diagnostic::input(code, format!("{}: {message}", name(module, id))));
        match size_problem(&module.constants[id]) {
            Some(problem) => error("ir::constant::size", problem),
            None => {
                if let Some(problem) = quant_problem(&module.constants[id]) {
                    error("ir::constant::quant", problem);
                }
            }
        }
    }
    for (_, graph) in module.functions.iter() {
        for value in graph.value_ids().filter(|&value| !graph[value].uses.is_empty()) {
            let Some(constant) = graph.constant(value).and_then(|id| module.constants.get(id)) else { continue };
            if *graph.ty(value) != Type::Tensor(constant.ty.clone()) {
                let message = format!("{value} has the type {}, its constant {}", graph.ty(value), constant.ty);
                findings.push(in_graph(graph, "ir::constant::type", message));
            }
        }
    }
}

fn name(module: &Module, id: ConstId) -> String {
    format!("constant {id}, {}", module.constants[id].ty)
}

fn size_problem(constant: &Constant) -> Option<String> {
    let Some(dims) = constant.ty.shape.as_known() else { return Some("a dimension is not a number".into()) };
    let Some(bytes) = packed_bytes(&dims, constant.ty.elem) else { return Some("the size overflows".into()) };
    if constant.ty.elem == Elem::String {
        let elements = count(&dims)?;
        return (constant.strings().map(|strings| strings.len()) != Some(elements))
            .then(|| format!("the data is not {elements} strings of UTF-8 with their lengths"));
    }
    (constant.data.len() != bytes).then(|| format!("{bytes} bytes are needed, {} are there", constant.data.len()))
}

fn quant_problem(constant: &Constant) -> Option<String> {
    let (quant, data) = match (constant.ty.elem.quant(), &constant.quant) {
        (Some(quant), Some(data)) => (quant, data),
        (None, None) => return None,
        (Some(_), None) => return Some("there are no scales".into()),
        (None, Some(_)) => return Some("there are scales although the type is not quantized".into()),
    };
    if !quant.is_valid() {
        return Some(format!("{} levels do not exist in {} bits", quant.levels.name(), quant.bits));
    }
    match scale_count(&quant, &constant.dims()) {
        Some(scales) => scales_problem(&quant, data, scales),
        None => Some("the granularity does not fit the shape".into()),
    }
}

fn scales_problem(quant: &QuantType, data: &QuantData, scales: usize) -> Option<String> {
    let zero_points = if quant.zero_point { scales } else { 0 };
    let problem = |what: &str, wanted: usize, bytes: usize| {
        (wanted.checked_mul(4) != Some(bytes)).then(|| format!("{wanted} {what} of 4 bytes are needed, {bytes} bytes are there"))
    };
    problem("scales", scales, data.scales.len()).or_else(|| problem("zero points", zero_points, data.zero_points.len()))
}

/// How many scales a tensor of this type has; none when the granularity does not fit.
fn scale_count(quant: &QuantType, dims: &[usize]) -> Option<usize> {
    match quant.granularity {
        Granularity::Tensor => Some(1),
        Granularity::Axis(axis) => dims.get(axis as usize).copied(),
        Granularity::Block { axis, along, size } if axis != along && size > 0 => {
            dims.get(axis as usize)?.checked_mul(dims.get(along as usize)?.div_ceil(size as usize))
        }
        Granularity::Block { .. } => None,
        Granularity::Row => count(dims.split_last()?.1),
        Granularity::RowBlock(0) => None,
        Granularity::RowBlock(size) => {
            let (row, rows) = dims.split_last()?;
            count(rows)?.checked_mul(row.div_ceil(size as usize))
        }
    }
}

fn count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
}
