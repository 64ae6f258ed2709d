//! Recurrent layers: LSTM, GRU and the plain cell.
//!
//! The input's share of all gates is one product for the whole sequence; each step then adds the state's share.

use super::cell::{Activations, Cell, State};
use super::gemm::{Matrix, Sizes, Target, product};
use super::operands::{operand, operand_as, operand_of, positive};
use super::real::{Real, for_reals};
use super::shared::Shared;
use super::{OpContext, OpError};
use crate::tensor::Tensor;
use mokume_ir::op::{Recurrent, RnnDirection, RnnKind};
use mokume_ir::types::Elem;

/// Y `[seq, directions, batch, hidden]`, Y_h `[directions, batch, hidden]` and, for LSTM, Y_c.
///
/// Errors  when the sizes do not fit, or for unknown activations.
/// Source  ONNX LSTM-14, GRU-14, RNN-14, layout 0.
pub fn recurrent(op: &Recurrent, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let layer = Layer::new(op, inputs)?;
    for_reals!("recurrent", x.elem(), T => layer.run::<T>(cx))
}

/// Number of gates of a cell.
fn gates(kind: RnnKind) -> usize {
    match kind {
        RnnKind::Lstm => 4,
        RnnKind::Gru => 3,
        RnnKind::Rnn => 1,
    }
}

/// Checked operands and sizes.
struct Layer<'a> {
    op: &'a Recurrent,
    seq: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
    x: &'a Tensor,
    w: &'a Tensor,
    r: &'a Tensor,
    bias: Option<&'a Tensor>,
    lengths: Vec<usize>,
    initial_h: Option<&'a Tensor>,
    initial_c: Option<&'a Tensor>,
    peephole: Option<&'a Tensor>,
    activations: Vec<Activations>,
}

impl<'a> Layer<'a> {
    fn new(op: &'a Recurrent, inputs: &[&'a Tensor]) -> Result<Self, OpError> {
        let x = operand(inputs, 0)?;
        let &[seq, batch, input] = x.dims() else {
            return Err(OpError::operands(format!("a sequence [seq, batch, input] expected, not {:?}", x.dims())));
        };
        let (hidden, gates) = (positive(op.hidden, "the hidden size")?, gates(op.kind));
        let directions = if op.direction == RnnDirection::Bidirectional { 2 } else { 1 };
        let rows = gates.saturating_mul(hidden);
        let mut next = 3;
        let mut optional = |present: bool| {
            next += present as usize;
            present.then_some(next - 1)
        };
        let [bias, lengths, initial_h, initial_c, peephole] =
            [op.bias, op.lengths, op.initial_h, op.initial_c, op.peephole].map(&mut optional);
        let state = [directions, batch, hidden];
        let take = |index: Option<usize>, dims: &[usize]| index.map(|index| operand_as(inputs, index, x.elem(), dims)).transpose();
        Ok(Layer {
            op,
            seq,
            batch,
            input,
            hidden,
            directions,
            x,
            w: operand_as(inputs, 1, x.elem(), &[directions, rows, input])?,
            r: operand_as(inputs, 2, x.elem(), &[directions, rows, hidden])?,
            bias: take(bias, &[directions, rows.saturating_mul(2)])?,
            lengths: sequence_lengths(lengths, inputs, seq, batch)?,
            initial_h: take(initial_h, &state)?,
            initial_c: take(initial_c, &state)?,
            peephole: take(peephole, &[directions, hidden.saturating_mul(3)])?,
            activations: (0..directions).map(|direction| Activations::new(op, direction)).collect::<Result<_, _>>()?,
        })
    }

    fn run<T: Real>(&self, cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
        let state = [self.directions, self.batch, self.hidden];
        let mut y = cx.alloc(&[self.seq, self.directions, self.batch, self.hidden], T::ELEM)?;
        let (mut y_h, mut y_c) = (cx.alloc(&state, T::ELEM)?, cx.alloc(&state, T::ELEM)?);
        start(self.initial_h, y_h.slice_mut::<T>());
        start(self.initial_c, y_c.slice_mut::<T>());
        let size = (self.batch * self.hidden).max(1);
        let states = y_h.slice_mut::<T>().chunks_mut(size).zip(y_c.slice_mut::<T>().chunks_mut(size));
        for (direction, (h, c)) in states.enumerate() {
            self.run_direction(direction, State { h, c }, y.slice_mut());
        }
        Ok(if self.op.kind == RnnKind::Lstm { vec![y, y_h, y_c] } else { vec![y, y_h] })
    }

    fn run_direction<T: Real>(&self, direction: usize, mut state: State<'_, T>, y: &mut [T]) {
        let cell = self.cell::<T>(direction);
        let shares = self.input_shares(direction, &cell);
        let reverse = self.op.direction == RnnDirection::Reverse || direction == 1;
        let (width, hidden) = (gates(self.op.kind) * self.hidden, self.hidden);
        let mut gates = vec![T::ZERO; self.batch * width];
        for step in 0..self.seq {
            let place = |b: usize| if reverse { (self.lengths[b] - 1).wrapping_sub(step) } else { step };
            for b in (0..self.batch).filter(|&b| step < self.lengths[b]) {
                gates[b * width..][..width].copy_from_slice(&shares[(place(b) * self.batch + b) * width..][..width]);
            }
            cell.step(&mut gates, &mut state, |b| step < self.lengths[b]);
            for b in 0..self.batch {
                let live = step < self.lengths[b];
                let at = if live { place(b) } else { step };
                let out = &mut y[((at * self.directions + direction) * self.batch + b) * hidden..][..hidden];
                if live { out.copy_from_slice(&state.h[b * hidden..][..hidden]) } else { out.fill(T::ZERO) }
            }
        }
    }

    fn cell<T: Real>(&self, direction: usize) -> Cell<'_, T> {
        let (hidden, rows) = (self.hidden, gates(self.op.kind) * self.hidden);
        Cell {
            op: self.op,
            hidden,
            r: &self.r.slice()[direction * rows * hidden..][..rows * hidden],
            bias: self.bias.map(|bias| &bias.slice()[direction * 2 * rows..][..2 * rows]),
            peephole: self.peephole.map(|p| &p.slice()[direction * 3 * hidden..][..3 * hidden]),
            activations: &self.activations[direction],
        }
    }

    /// `[seq, batch, gates * hidden]`: the input's share of the gates, with the biases that are added outside of products.
    fn input_shares<T: Real>(&self, direction: usize, cell: &Cell<'_, T>) -> Vec<T> {
        let rows = gates(self.op.kind) * self.hidden;
        let bias = cell.input_bias();
        let mut shares: Vec<T> = (0..self.seq * self.batch).flat_map(|_| bias.iter().copied()).collect();
        let sizes = Sizes { m: self.seq * self.batch, n: rows, k: self.input };
        let x = Matrix { data: self.x.slice(), rows: self.input, cols: 1 };
        let w = Matrix { data: &self.w.slice()[direction * rows * self.input..], rows: 1, cols: self.input };
        // SAFETY: nothing else uses the shares.
        unsafe { product(sizes, x, w, &Shared::new(&mut shares), Target { start: 0, rows, add: true }, true) };
        shares
    }
}

/// The initial state, or zeros.
fn start<T: Real>(initial: Option<&Tensor>, state: &mut [T]) {
    match initial {
        Some(initial) => state.copy_from_slice(initial.slice()),
        None => state.fill(T::ZERO),
    }
}

fn sequence_lengths(index: Option<usize>, inputs: &[&Tensor], seq: usize, batch: usize) -> Result<Vec<usize>, OpError> {
    let Some(index) = index else { return Ok(vec![seq; batch]) };
    let lengths = operand_of(inputs, index, Elem::I32)?.slice::<i32>();
    let checked = lengths.iter().map(|&length| usize::try_from(length).ok().filter(|&length| length <= seq));
    match checked.collect::<Option<Vec<_>>>().filter(|lengths| lengths.len() == batch) {
        Some(lengths) => Ok(lengths),
        None => Err(OpError::operands(format!("lengths {lengths:?} of {batch} sequences of {seq}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, refuses, run};
    use super::*;

    fn op(kind: RnnKind, direction: RnnDirection) -> Recurrent {
        Recurrent {
            kind,
            direction,
            hidden: 3,
            activations: vec![],
            alphas: vec![],
            betas: vec![],
            clip: 0.0,
            input_forget: false,
            linear_before_reset: false,
            bias: true,
            lengths: false,
            initial_h: true,
            initial_c: kind == RnnKind::Lstm,
            peephole: false,
        }
    }

    fn operands(kind: RnnKind, seq: usize, batch: usize, directions: usize) -> Vec<Tensor> {
        let rows = gates(kind) * 3;
        let dims = [vec![seq, batch, 2], vec![directions, rows, 2], vec![directions, rows, 3], vec![directions, 2 * rows]];
        let states = vec![vec![directions, batch, 3]; if kind == RnnKind::Lstm { 2 } else { 1 }];
        dims.iter().chain(&states).enumerate().map(|(i, dims)| numbers(dims, i as u64 + 1)).collect()
    }

    fn sigmoid(x: f32) -> f32 {
        1.0 / (1.0 + (-x).exp())
    }

    /// Gate `g` (row `j`) of the input, then of the state, biases included.
    fn gate(t: &[Tensor], x: &[f32], h: &[f32], row: usize) -> (f32, f32) {
        let (w, r, b) = (t[1].slice::<f32>(), t[2].slice::<f32>(), t[3].slice::<f32>());
        let input = (0..2).map(|i| w[row * 2 + i] * x[i]).sum::<f32>() + b[row];
        (input, (0..3).map(|i| r[row * 3 + i] * h[i]).sum::<f32>() + b[b.len() / 2 + row])
    }

    #[test]
    fn lstm_equals_its_formulas() {
        let t = operands(RnnKind::Lstm, 4, 1, 1);
        let (mut h, mut c) = (t[4].slice::<f32>().to_vec(), t[5].slice::<f32>().to_vec());
        let mut want = vec![];
        for x in t[0].slice::<f32>().chunks(2) {
            let sum = |g: usize, j: usize| gate(&t, x, &h, g * 3 + j).0 + gate(&t, x, &h, g * 3 + j).1;
            let cells: Vec<f32> = (0..3).map(|j| sigmoid(sum(2, j)) * c[j] + sigmoid(sum(0, j)) * sum(3, j).tanh()).collect();
            h = (0..3).map(|j| sigmoid(sum(1, j)) * cells[j].tanh()).collect();
            c = cells;
            want.extend(h.clone());
        }
        let y = run(op(RnnKind::Lstm, RnnDirection::Forward), &t);
        assert_close(y[0].slice(), &want, 1e-6);
        assert_close(y[1].slice(), &h, 1e-6);
        assert_close(y[2].slice(), &c, 1e-6);
    }

    #[test]
    fn gru_resets_before_or_after_the_product() {
        let t = operands(RnnKind::Gru, 3, 1, 1);
        for linear in [false, true] {
            let mut h = t[4].slice::<f32>().to_vec();
            for x in t[0].slice::<f32>().chunks(2) {
                let sum = |g: usize, j: usize, h: &[f32]| gate(&t, x, h, g * 3 + j);
                let both = |pair: (f32, f32)| sigmoid(pair.0 + pair.1);
                let reset: Vec<f32> = (0..3).map(|j| both(sum(1, j, &h))).collect();
                let scaled: Vec<f32> = (0..3).map(|j| reset[j] * h[j]).collect();
                h = (0..3)
                    .map(|j| {
                        let (input, state) = sum(2, j, if linear { &h } else { &scaled });
                        let new = if linear { input + reset[j] * state } else { input + state };
                        let z = both(sum(0, j, &h));
                        (1.0 - z) * new.tanh() + z * h[j]
                    })
                    .collect();
            }
            let y = run(Recurrent { linear_before_reset: linear, ..op(RnnKind::Gru, RnnDirection::Forward) }, &t);
            assert_close(y[1].slice(), &h, 1e-6);
        }
    }

    #[test]
    fn backward_is_forward_of_the_reversed_sequence() {
        let t = operands(RnnKind::Rnn, 4, 2, 1);
        let mut reversed = t.clone();
        let rows: Vec<f32> = t[0].slice::<f32>().chunks(4).rev().flatten().copied().collect();
        reversed[0] = Tensor::f32s(&[4, 2, 2], &rows);
        let forward = run(op(RnnKind::Rnn, RnnDirection::Forward), &reversed);
        let backward = run(op(RnnKind::Rnn, RnnDirection::Reverse), &t);
        let flipped: Vec<f32> = forward[0].slice::<f32>().chunks(6).rev().flatten().copied().collect();
        assert_eq!(backward[0].slice::<f32>(), flipped);
        assert_eq!(backward[1].slice::<f32>(), forward[1].slice::<f32>());
    }

    #[test]
    fn short_sequences_stop_early() {
        let mut t = operands(RnnKind::Lstm, 4, 2, 2);
        let alone: Vec<Tensor> = [t[0].clone(), t[4].clone(), t[5].clone()].to_vec();
        t.insert(4, Tensor::of(&[2], Elem::I32, &[4i32, 2]));
        let y = run(Recurrent { lengths: true, ..op(RnnKind::Lstm, RnnDirection::Bidirectional) }, &t);
        let second = |x: &Tensor, rows: usize, width: usize| -> Vec<f32> {
            x.slice::<f32>().chunks(width).skip(1).step_by(2).take(rows).flatten().copied().collect()
        };
        let x = Tensor::f32s(&[2, 1, 2], &second(&alone[0], 2, 2));
        let states = [&alone[1], &alone[2]].map(|s| Tensor::f32s(&[2, 1, 3], &second(s, 2, 3)));
        let [h, c] = states;
        let short = run(op(RnnKind::Lstm, RnnDirection::Bidirectional), &[x, t[1].clone(), t[2].clone(), t[3].clone(), h, c]);
        let of_second: Vec<f32> = y[0].slice::<f32>().chunks(3).skip(1).step_by(2).flatten().copied().collect();
        assert_close(&of_second[..12], short[0].slice(), 1e-6);
        assert!(of_second[12..].iter().all(|&y| y == 0.0));
        t[4] = Tensor::of(&[2], Elem::I32, &[5i32, 2]);
        assert!(refuses(Recurrent { lengths: true, ..op(RnnKind::Lstm, RnnDirection::Bidirectional) }, &t));
    }
}
