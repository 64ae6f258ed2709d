//! Recurrent layers.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__LSTM.html>, GRU, RNN.
//! Opsets  `output_sequence` exists up to 6; `layout` 1 (batch first) from 14.

use super::Row;
use crate::onnx::cx::{Bound, Cx, Fault, Outcome, many};
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, RnnDirection, RnnKind};

/// The family's table.
pub const ROWS: &[Row] =
    &[("LSTM", |cx| layer(cx, RnnKind::Lstm)), ("GRU", |cx| layer(cx, RnnKind::Gru)), ("RNN", |cx| layer(cx, RnnKind::Rnn))];

fn layer(cx: &mut Cx<'_, '_, '_>, kind: RnnKind) -> Outcome {
    cx.attrs.ignore(&["output_sequence"]);
    let batch_first = cx.attrs.flag("layout")?;
    let (x, w, r) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let x = if batch_first { cx.transpose(x, &[1, 0, 2])? } else { x };
    let mut operands = vec![x, w, r];
    let bias = flagged(cx, 3, false, &mut operands)?;
    let lengths = flagged(cx, 4, false, &mut operands)?;
    let initial_h = flagged(cx, 5, batch_first, &mut operands)?;
    let initial_c = kind == RnnKind::Lstm && flagged(cx, 6, batch_first, &mut operands)?;
    let peephole = kind == RnnKind::Lstm && flagged(cx, 7, false, &mut operands)?;
    let direction = direction(cx)?;
    let hidden = match cx.attrs.int("hidden_size")? {
        Some(hidden) => hidden,
        None => cx.need_size(r, 2)?,
    };
    let op = op::Recurrent {
        kind,
        direction,
        hidden,
        activations: activations(cx, kind, direction)?,
        alphas: cx.attrs.floats("activation_alpha")?.unwrap_or_default(),
        betas: cx.attrs.floats("activation_beta")?.unwrap_or_default(),
        clip: cx.attrs.float_or("clip", 0.0)?,
        input_forget: cx.attrs.flag("input_forget")?,
        linear_before_reset: cx.attrs.flag("linear_before_reset")?,
        bias,
        lengths,
        initial_h,
        initial_c,
        peephole,
    };
    let outputs = cx.insert(op, &operands)?;
    if batch_first { batch_first_outputs(cx, &outputs) } else { many(outputs) }
}

/// Adds operand `index` if it is given; `[batch, direction, hidden]` becomes `[direction, batch, hidden]` if `swap`.
fn flagged(cx: &mut Cx<'_, '_, '_>, index: usize, swap: bool, operands: &mut Vec<ValueId>) -> Result<bool, Fault> {
    let Some(value) = cx.optional(index)? else { return Ok(false) };
    operands.push(if swap { cx.transpose(value, &[1, 0, 2])? } else { value });
    Ok(true)
}

fn direction(cx: &Cx<'_, '_, '_>) -> Result<RnnDirection, Fault> {
    let word = cx.attrs.string_or("direction", "forward")?;
    RnnDirection::from_name(&word.to_lowercase()).ok_or_else(|| Fault::input(format!("direction \"{word}\" is not known")))
}

/// Names in lower case, defaults filled in, for every direction.
fn activations(cx: &Cx<'_, '_, '_>, kind: RnnKind, direction: RnnDirection) -> Result<Vec<String>, Fault> {
    let defaults: &[&str] = match kind {
        RnnKind::Lstm => &["sigmoid", "tanh", "tanh"],
        RnnKind::Gru => &["sigmoid", "tanh"],
        RnnKind::Rnn => &["tanh"],
    };
    let directions = if direction == RnnDirection::Bidirectional { 2 } else { 1 };
    match cx.attrs.strings("activations")? {
        Some(names) if names.len() == defaults.len() * directions => Ok(names.iter().map(|name| name.to_lowercase()).collect()),
        Some(names) => Err(Fault::input(format!("{} activations, not {}", names.len(), defaults.len() * directions))),
        None => Ok(defaults.repeat(directions).into_iter().map(String::from).collect()),
    }
}

/// Y as `[batch, time, direction, hidden]`, states as `[batch, direction, hidden]`.
fn batch_first_outputs(cx: &mut Cx<'_, '_, '_>, outputs: &[ValueId]) -> Outcome {
    let mut swapped: Vec<Bound> = Vec::new();
    for (i, &output) in outputs.iter().enumerate() {
        let perm: &[usize] = if i == 0 { &[2, 0, 1, 3] } else { &[1, 0, 2] };
        swapped.push(cx.transpose(output, perm)?.into());
    }
    Ok(swapped)
}
