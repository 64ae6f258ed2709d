//! Control flow: subgraphs become functions whose captured values are arguments.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__If.html>, Loop, Scan.
//! Opsets  Loop has scan outputs since 1. Scan has a batch axis in 8 (not supported), axes and directions from 9. An If
//!         whose condition is known while importing is replaced by the branch taken.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, many};
use crate::onnx::subgraph::{Body, Captures};
use crate::onnx::types::Symbols;
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::ids::{FuncId, ValueId};
use mokume_ir::loc::Loc;
use mokume_ir::op::{self, BinaryKind, Op};
use mokume_ir::types::{Elem, Shape, TensorType, Type};
use std::collections::HashSet;

/// The family's table.
pub const ROWS: &[Row] = &[("If", branch), ("Loop", repeat), ("Scan", scan)];

fn branch(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let condition = scalar(cx, 0)?.ok_or_else(|| Fault::input("the condition is missing"))?;
    let (then, otherwise) = (cx.attrs.need_graph("then_branch")?, cx.attrs.need_graph("else_branch")?);
    if let Some([known]) = cx.numbers(condition).as_deref() {
        let graph = if *known != 0 { then } else { otherwise };
        let scope = cx.importer.captured_scope(graph, cx.scope);
        return cx.importer.subgraph(cx.ed, graph, scope, cx.opsets);
    }
    let captures = Captures::of(&[then, otherwise], cx.ed, cx.scope)?;
    let mut branches = Vec::new();
    for (graph, word) in [(then, "then"), (otherwise, "else")] {
        let name = function_name(cx, word);
        let nothing = |_: &mut Editor<'_>, _: &[ValueId]| Ok(vec![]);
        let body = Body { name, graph, opsets: cx.opsets, params: vec![], captures: &captures, prologue: &nothing, first_output: None };
        branches.push(cx.importer.function(cx.ed, &body)?);
    }
    let operands: Vec<ValueId> = [condition].into_iter().chain(captures.values).collect();
    many(cx.insert(op::If { then_branch: branches[0], else_branch: branches[1] }, &operands)?)
}

fn function_name(cx: &Cx<'_, '_, '_>, word: &str) -> String {
    format!("{}.{word}", cx.loc.first().unwrap_or("subgraph"))
}

/// Operand `index` as a scalar, if it is given.
fn scalar(cx: &mut Cx<'_, '_, '_>, index: usize) -> Result<Option<ValueId>, Fault> {
    let Some(value) = cx.optional(index)? else { return Ok(None) };
    Ok(Some(if cx.rank(value) == Some(0) { value } else { cx.reshape(value, vec![])? }))
}

fn repeat(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let graph = cx.attrs.need_graph("body")?;
    let (trips, condition) = (scalar(cx, 0)?, scalar(cx, 1)?);
    let initial = (2..cx.input_count()).map(|index| cx.input(index)).collect::<Result<Vec<_>, _>>()?;
    if graph.input.len() != initial.len() + 2 || graph.output.len() <= initial.len() {
        let message =
            format!("the body has {} inputs and {} outputs for {} carried values", graph.input.len(), graph.output.len(), initial.len());
        return Err(Fault::input(message));
    }
    let captures = Captures::of(&[graph], cx.ed, cx.scope)?;
    let pass = |_: &mut Editor<'_>, params: &[ValueId]| Ok(params.to_vec());
    let body = Body {
        name: function_name(cx, "body"),
        graph,
        opsets: cx.opsets,
        params: params(cx, &initial)?,
        captures: &captures,
        prologue: &pass,
        first_output: None,
    };
    let function = settled(cx, body, initial.len())?;
    let op = op::Loop { body: function, carried: initial.len() as u32, trip_count: trips.is_some(), condition: condition.is_some() };
    let operands: Vec<ValueId> = trips.into_iter().chain(condition).chain(initial).chain(captures.values).collect();
    many(cx.insert(op, &operands)?)
}

/// Iteration, condition, and carried values of the types they start with.
fn params(cx: &Cx<'_, '_, '_>, initial: &[ValueId]) -> Result<Vec<(String, Type)>, Fault> {
    let own = [("iteration", Elem::I64), ("condition", Elem::Bool)];
    let own = own.map(|(name, elem)| (name.to_string(), Type::tensor(Shape::scalar(), elem)));
    let carried = initial.iter().enumerate().map(|(i, &value)| (format!("carried_{i}"), cx.ed.ty(value).clone()));
    Ok(own.into_iter().chain(carried).collect())
}

/// The body's function, with carried parameters as general as another round may need them.
fn settled(cx: &mut Cx<'_, '_, '_>, mut body: Body<'_>, carried: usize) -> Result<FuncId, Fault> {
    let mut own = HashSet::new();
    for _ in 0..4 {
        let function = cx.importer.function(cx.ed, &body)?;
        if !generalize(cx, &mut body, function, carried, &mut own) {
            return Ok(function);
        }
    }
    for (_, ty) in &mut body.params[2..2 + carried] {
        if let Type::Tensor(tensor) = ty {
            tensor.shape = Shape::Unranked;
        }
    }
    cx.importer.function(cx.ed, &body)
}

/// Gives axes whose size changes in a round a symbol of their own, kept in `own`. False when nothing had to change.
fn generalize(cx: &mut Cx<'_, '_, '_>, body: &mut Body<'_>, function: FuncId, carried: usize, own: &mut HashSet<Dim>) -> bool {
    let graph = &cx.ed.module()[function];
    let mut changed = false;
    for i in 0..carried {
        let before = graph.ty(graph.inputs()[2 + i].value).clone();
        let after = graph.ty(graph.outputs()[1 + i].value);
        let (Type::Tensor(param), Type::Tensor(before), Type::Tensor(after)) = (&mut body.params[2 + i].1, &before, after) else {
            continue;
        };
        changed |= generalize_type(&mut cx.importer.symbols, param, before, after, own);
    }
    changed
}

fn generalize_type(symbols: &mut Symbols, param: &mut TensorType, before: &TensorType, after: &TensorType, own: &mut HashSet<Dim>) -> bool {
    let (Shape::Ranked(param_dims), Some(before)) = (&mut param.shape, before.shape.dims()) else { return false };
    let Some(after) = after.shape.dims().filter(|after| after.len() == before.len()) else {
        param.shape = Shape::Unranked;
        return true;
    };
    let mut changed = false;
    for (param, (before, after)) in param_dims.iter_mut().zip(before.iter().zip(after)) {
        if before != after && !own.contains(param) {
            *param = symbols.fresh("size").into();
            own.insert(param.clone());
            changed = true;
        }
    }
    changed
}

/// Scan as a Loop over the positions of the scanned axis.
fn scan(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    if cx.opset < 9 {
        return Err(Fault::unsupported("Scan of opset 8, with a batch axis, is not supported"));
    }
    let graph = cx.attrs.need_graph("body")?;
    let count = cx.attrs.need_int("num_scan_inputs")?;
    let inputs = cx.all_inputs()?;
    let states = usize::try_from(count).ok().and_then(|count| inputs.len().checked_sub(count)).filter(|&s| s < inputs.len());
    let states = states.ok_or_else(|| Fault::input(format!("{count} scanned operands of {}", inputs.len())))?;
    let (initial, scanned) = inputs.split_at(states);
    let axes = directed(cx, scanned, "scan_input_axes", "scan_input_directions")?;
    let length = cx.need_dims(scanned[0])?[axes[0].0].clone();
    let mut captures = Captures::of(&[graph], cx.ed, cx.scope)?;
    let mut params = params(cx, initial)?;
    let scanned_types = scanned.iter().enumerate().map(|(i, &x)| (format!("scanned_{i}"), cx.ed.ty(x).clone()));
    params.extend(scanned_types);
    let loc = cx.loc.clone();
    let take = |ed: &mut Editor<'_>, params: &[ValueId]| {
        let mut values = params[2..2 + states].to_vec();
        for (&x, &(axis, reverse)) in params[2 + states..].iter().zip(&axes) {
            values.push(position(ed, x, params[0], axis, reverse, &loc)?);
        }
        Ok(values)
    };
    let body = Body {
        name: function_name(cx, "body"),
        graph,
        opsets: cx.opsets,
        params,
        captures: &captures,
        prologue: &take,
        first_output: Some(1),
    };
    let function = settled(cx, body, states)?;
    let trips = cx.dim_scalar(length)?;
    let operands: Vec<ValueId> =
        [trips].into_iter().chain(initial.iter().copied()).chain(scanned.iter().copied()).chain(captures.values.drain(..)).collect();
    let op = op::Loop { body: function, carried: states as u32, trip_count: true, condition: false };
    let mut outputs = cx.insert(op, &operands)?;
    let stacked = outputs.split_off(states);
    outputs.extend(arranged(cx, stacked)?);
    many(outputs)
}

/// Axis, and whether from the end, of every scanned operand.
fn directed(cx: &Cx<'_, '_, '_>, values: &[ValueId], axes: &str, directions: &str) -> Result<Vec<(usize, bool)>, Fault> {
    let axes = cx.attrs.ints(axes)?.unwrap_or_else(|| vec![0; values.len()]);
    let directions = cx.attrs.ints(directions)?.unwrap_or_else(|| vec![0; values.len()]);
    if axes.len() != values.len() || directions.len() != values.len() {
        return Err(Fault::input(format!("axes and directions for {} values", values.len())));
    }
    let places = values.iter().zip(axes).zip(directions);
    places.map(|((&value, axis), direction)| Ok((cx.front_axis(value, axis)?, direction != 0))).collect()
}

/// The slice of `x` that this iteration takes.
fn position(ed: &mut Editor<'_>, x: ValueId, iteration: ValueId, axis: usize, reverse: bool, loc: &Loc) -> Result<ValueId, Fault> {
    let mut index = iteration;
    if reverse {
        // -1 - iteration counts from the end.
        let last = ed.constant_value(mokume_ir::constant::Constant::i64s(&[], &[-1]));
        index = ed.apply(Op::Binary(BinaryKind::Sub), &[last, iteration], loc.clone())?;
    }
    Ok(ed.apply(op::Gather { axis: axis as i64 }, &[x, index], loc.clone())?)
}

/// Stacked outputs with the stacking axis and direction that the attributes ask for.
fn arranged(cx: &mut Cx<'_, '_, '_>, stacked: Vec<ValueId>) -> Result<Vec<ValueId>, Fault> {
    let places = directed(cx, &stacked, "scan_output_axes", "scan_output_directions")?;
    let mut arranged = Vec::new();
    for (value, (axis, reverse)) in stacked.into_iter().zip(places) {
        let rank = cx.need_rank(value)?;
        let value = if reverse { reversed(cx, value)? } else { value };
        let mut perm: Vec<usize> = (1..rank).collect();
        perm.insert(axis, 0);
        arranged.push(cx.transpose(value, &perm)?);
    }
    Ok(arranged)
}

/// Axis 0 from the end.
fn reversed(cx: &mut Cx<'_, '_, '_>, x: ValueId) -> Result<ValueId, Fault> {
    let (starts, ends) = (Ints::of([-1]), Ints::of([i64::MIN]));
    cx.apply(op::Slice { starts, ends, axes: Ints::of([0]), steps: Ints::of([-1]) }, &[x])
}
