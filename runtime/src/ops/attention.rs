//! Scaled dot-product attention.
//!
//! Query heads that share a key head are rows of one matrix: their scores are one product, their sums another, over blocks of rows.

use super::gemm::{Matrix, Sizes, Target, product};
use super::operands::{operand, operand_of};
use super::real::{Real, for_reals};
use super::shared::Shared;
use super::softmax::softmax_row;
use super::{OpContext, OpError, scratch};
use crate::crew;
use crate::tensor::Tensor;
use mokume_ir::op::Attention;
use mokume_ir::types::Elem;
use std::ops::Range;

/// softmax(scale q kᵀ + mask) v. A row that may attend to nothing gives 0. Keys and values may have room to grow.
///
/// Errors  when the sizes do not fit.
/// Source  ONNX Attention-23.
pub fn attention(op: &Attention, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let q = operand(inputs, 0)?;
    let (k, v) = (operand_of(inputs, 1, q.elem())?, operand_of(inputs, 2, q.elem())?);
    let plan = Plan::new(op, q, k, v)?;
    let mut y = cx.alloc(&plan.result(), q.elem())?;
    for_reals!("attention", q.elem(), T => {
        let mask = if op.mask { Some(Mask::<T>::new(operand(inputs, 3)?, &plan)?) } else { None };
        plan.run::<T>([q, k, v], mask.as_ref(), y.slice_mut());
        Ok(vec![y])
    })
}

/// Rows up to which products are sums of rows as they lie.
const FEW_ROWS: usize = 8;

/// Sizes and settings.
struct Plan {
    b: usize,
    hq: usize,
    hk: usize,
    s: usize,
    t: usize,
    d: usize,
    e: usize,
    scale: f64,
    softcap: f32,
    causal: bool,
    join_heads: bool,
}

impl Plan {
    fn new(op: &Attention, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Self, OpError> {
        let misfit = || OpError::operands(format!("queries {:?}, keys {:?} and values {:?} do not fit", q.dims(), k.dims(), v.dims()));
        let ([b, hq, s, d], [kb, hk, t, kd], [vb, vh, vt, e]) = (q.dims(), k.dims(), v.dims()) else { return Err(misfit()) };
        if kb != b || vb != b || vh != hk || vt != t || kd != d || (*hk == 0 && *hq > 0) || (*hk > 0 && hq % hk != 0) {
            return Err(misfit());
        }
        let scale = op.scale.map_or_else(|| 1.0 / (*d as f64).sqrt(), f64::from);
        let (b, hq, hk, s, t, d, e) = (*b, *hq, *hk, *s, *t, *d, *e);
        Ok(Plan { b, hq, hk, s, t, d, e, scale, softcap: op.softcap, causal: op.causal, join_heads: op.join_heads })
    }
    fn result(&self) -> Vec<usize> {
        if self.join_heads { vec![self.b, self.s, self.hq * self.e] } else { vec![self.b, self.hq, self.s, self.e] }
    }
    /// Rows of queries that share keys.
    fn rows(&self) -> usize {
        self.hq.checked_div(self.hk).map_or(0, |group| group * self.s)
    }
    /// Keys that row `row` attends to: a prefix.
    fn reach(&self, row: usize) -> usize {
        if self.causal { (row % self.s + 1 + self.t).saturating_sub(self.s).min(self.t) } else { self.t }
    }
    fn run<T: Real>(&self, [q, k, v]: [&Tensor; 3], mask: Option<&Mask<'_, T>>, y: &mut [T]) {
        let (rows, out, q) = (self.rows(), Shared::new(y), q.slice::<T>());
        let block = ((1usize << 16) / self.t.max(1)).clamp(8, 64);
        let blocks = |pair: usize| (0..rows).step_by(block).map(move |first| (pair, first..(first + block).min(rows)));
        let tasks: Vec<(usize, Range<usize>)> = (0..self.b * self.hk).flat_map(blocks).collect();
        crew::for_each(tasks.len(), |task| {
            let (pair, range) = tasks[task].clone();
            let q = &q[(pair * rows + range.start) * self.d..][..range.len() * self.d];
            self.block([q, k.block(2, pair), v.block(2, pair)], mask, pair, range, &out);
        });
    }
    /// Rows `range` of the queries of one key head.
    fn block<T: Real>(&self, [q, k, v]: [&[T]; 3], mask: Option<&Mask<'_, T>>, pair: usize, range: Range<usize>, out: &Shared<T>) {
        let reach = range.clone().map(|row| self.reach(row)).max().unwrap_or(0);
        if range.len() <= FEW_ROWS && self.d > 0 && self.e > 0 {
            return self.few_rows([q, &k[..reach * self.d], v], mask, pair, range, out);
        }
        scratch::with::<T, _>(range.len() * reach, |memory| {
            let scores = Shared::new(memory);
            let to = Target { start: 0, rows: reach, add: false };
            let queries = Matrix { data: q, rows: self.d, cols: 1 };
            let sizes = Sizes { m: range.len(), n: reach, k: self.d };
            // SAFETY: the scores belong to this task.
            unsafe { product(sizes, queries, Matrix { data: k, rows: 1, cols: self.d }, &scores, to, false) };
            // SAFETY: as above, and the product is done.
            let scores = unsafe { scores.part(0, range.len() * reach) };
            for (row, scores) in range.clone().zip(scores.chunks_mut(reach.max(1))) {
                self.finish_row(mask, pair, row, scores);
            }
            for (run, to) in self.runs(pair, range.clone()) {
                let weights = Matrix { data: &scores[(run.start - range.start) * reach..], rows: reach, cols: 1 };
                let sizes = Sizes { m: run.len(), n: self.e, k: reach };
                // SAFETY: every task has its own rows of the output.
                unsafe { product(sizes, weights, Matrix { data: v, rows: self.e, cols: 1 }, out, to, false) };
            }
        });
    }
    /// As [`Plan::block`] for few rows, as when decoding: keys and values are read once, as they lie.
    fn few_rows<T: Real>(&self, [q, k, v]: [&[T]; 3], mask: Option<&Mask<'_, T>>, pair: usize, range: Range<usize>, out: &Shared<T>) {
        let reach = k.len() / self.d;
        scratch::with::<T, _>(range.len() * reach, |scores| {
            T::dots(q, k, self.d, scores, reach);
            for (run, to) in self.runs(pair, range.clone()) {
                for (i, row) in run.clone().enumerate() {
                    let scores = &mut scores[(row - range.start) * reach..][..reach];
                    self.finish_row(mask, pair, row, scores);
                    // SAFETY: every task has its own rows of the output.
                    T::sum_rows(scores, v, unsafe { out.part(to.start + i * to.rows, self.e) });
                }
            }
        });
    }
    /// Where rows `range` of one key head go: runs of rows at one distance. With joined heads these are the heads.
    fn runs(&self, pair: usize, range: Range<usize>) -> Vec<(Range<usize>, Target)> {
        if !self.join_heads || self.s == 1 {
            let start = (pair * self.rows() + range.start) * self.e;
            return vec![(range, Target { start, rows: self.e, add: false })];
        }
        let (batch, first) = (pair / self.hk, pair % self.hk * (self.hq / self.hk));
        let run = |head: usize| {
            let run = range.start.max(head * self.s)..range.end.min((head + 1) * self.s);
            let start = ((batch * self.s + run.start % self.s) * self.hq + first + head) * self.e;
            (run, Target { start, rows: self.hq * self.e, add: false })
        };
        (range.start / self.s..range.end.div_ceil(self.s)).map(run).collect()
    }
    /// From products to weights.
    fn finish_row<T: Real>(&self, mask: Option<&Mask<'_, T>>, pair: usize, row: usize, scores: &mut [T]) {
        let (near, far) = scores.split_at_mut(self.reach(row));
        let scale = T::of(self.scale);
        near.iter_mut().for_each(|x| *x *= scale);
        if self.softcap > 0.0 {
            let cap = T::of(self.softcap as f64);
            near.iter_mut().for_each(|x| *x = (*x / cap).tanh() * cap);
        }
        if let Some(mask) = mask {
            let head = pair % self.hk * (self.hq / self.hk) + row / self.s;
            mask.apply(pair / self.hk, head, row % self.s, near);
        }
        softmax_row(near);
        far.fill(T::ZERO);
    }
}

/// A mask broadcast to `[b, hq, s, t]`.
struct Mask<'a, T> {
    values: Values<'a, T>,
    /// Distance of neighbors along every axis; 0 where broadcast.
    strides: [usize; 4],
}

enum Values<'a, T> {
    Bools(&'a [u8]),
    Reals(&'a [T]),
}

impl<'a, T: Real> Mask<'a, T> {
    fn new(mask: &'a Tensor, plan: &Plan) -> Result<Self, OpError> {
        let to = [plan.b, plan.hq, plan.s, plan.t];
        let misfit = || OpError::operands(format!("a mask {:?} for scores {to:?}", mask.dims()));
        let skip = 4usize.checked_sub(mask.rank()).ok_or_else(misfit)?;
        let (mut strides, mut stride) = ([0; 4], 1);
        for (axis, &size) in mask.dims().iter().enumerate().rev() {
            if size != to[axis + skip] && size != 1 {
                return Err(misfit());
            }
            strides[axis + skip] = if size == 1 { 0 } else { stride };
            stride *= size;
        }
        match mask.elem() {
            Elem::Bool => Ok(Mask { values: Values::Bools(mask.slice()), strides }),
            elem if elem == T::ELEM => Ok(Mask { values: Values::Reals(mask.slice()), strides }),
            other => Err(OpError::operands(format!("a mask of {other} for {}", T::ELEM))),
        }
    }
    fn apply(&self, batch: usize, head: usize, row: usize, scores: &mut [T]) {
        let start = batch * self.strides[0] + head * self.strides[1] + row * self.strides[2];
        let at = |i: usize| start + i * self.strides[3];
        match self.values {
            Values::Bools(mask) => scores.iter_mut().enumerate().filter(|(i, _)| mask[at(*i)] == 0).for_each(|(_, x)| *x = T::NEG_INFINITY),
            Values::Reals(mask) => scores.iter_mut().enumerate().for_each(|(i, x)| *x += mask[at(i)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, refuses, run};
    use super::*;

    fn op(causal: bool, softcap: f32, mask: bool) -> Attention {
        Attention { scale: None, causal, softcap, mask, join_heads: false }
    }

    /// The definition; `bias(b, h, i, j)` is added.
    fn naive(op: &Attention, [q, k, v]: [&Tensor; 3], bias: impl Fn(usize, usize, usize, usize) -> f64) -> Vec<f32> {
        let plan = Plan::new(op, q, k, v).unwrap();
        let (q, k, v) = (q.slice::<f32>(), k.slice::<f32>(), v.slice::<f32>());
        let row = |number: usize| {
            let (b, h, i) = (number / plan.s / plan.hq, number / plan.s % plan.hq, number % plan.s);
            let first = (b * plan.hk + h / (plan.hq / plan.hk)) * plan.t;
            let dot = |j: usize| (0..plan.d).map(|p| (q[number * plan.d + p] * k[(first + j) * plan.d + p]) as f64).sum::<f64>();
            let capped = |x: f64| if op.softcap > 0.0 { (x / op.softcap as f64).tanh() * op.softcap as f64 } else { x };
            let seen = |j: usize| !op.causal || j + plan.s <= i + plan.t;
            let weight = |j: usize| if seen(j) { (capped(dot(j) * plan.scale) + bias(b, h, i, j)).exp() } else { 0.0 };
            let weights: Vec<f64> = (0..plan.t).map(weight).collect();
            let sum = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            let column = |e: usize| (0..plan.t).map(|j| weights[j] / sum * v[(first + j) * plan.e + e] as f64).sum::<f64>() as f32;
            (0..plan.e).map(column).collect::<Vec<_>>()
        };
        (0..plan.b * plan.hq * plan.s).flat_map(row).collect()
    }

    #[test]
    fn heads_share_keys_and_see_the_past() {
        for (s, t, causal, softcap) in [(5, 5, true, 0.0), (1, 40, true, 2.0), (3, 7, true, 0.0), (70, 33, false, 0.5), (6, 3, true, 0.0)] {
            let (q, k, v) = (numbers(&[2, 6, s, 8], 1), numbers(&[2, 2, t, 8], 2), numbers(&[2, 2, t, 5], 3));
            let want = naive(&op(causal, softcap, false), [&q, &k, &v], |_, _, _, _| 0.0);
            let y = run(op(causal, softcap, false), &[q, k, v]);
            assert_eq!(y[0].dims(), &[2, 6, s, 5]);
            assert_close(y[0].slice(), &want, 1e-5);
        }
    }

    #[test]
    fn heads_are_joined() {
        for (b, s, t) in [(2, 70, 70), (1, 1, 9), (2, 3, 4)] {
            let (q, k, v) = (numbers(&[b, 6, s, 8], 1), numbers(&[b, 2, t, 8], 2), numbers(&[b, 2, t, 5], 3));
            let apart = run(op(true, 0.0, false), &[q.clone(), k.clone(), v.clone()]);
            let joined = run(Attention { join_heads: true, ..op(true, 0.0, false) }, &[q, k, v]);
            assert_eq!(joined[0].dims(), &[b, s, 6 * 5]);
            let transposed = run(mokume_ir::op::Transpose { perm: vec![0, 2, 1, 3] }, &[apart[0].clone()]);
            assert_close(joined[0].slice(), transposed[0].slice(), 1e-6);
        }
    }

    #[test]
    fn masks_broadcast() {
        let (q, k, v) = (numbers(&[2, 4, 3, 8], 1), numbers(&[2, 2, 6, 8], 2), numbers(&[2, 2, 6, 5], 3));
        let added = numbers(&[2, 1, 1, 6], 4);
        let want = naive(&op(false, 0.0, true), [&q, &k, &v], |b, _, _, j| added.slice::<f32>()[b * 6 + j] as f64);
        assert_close(run(op(false, 0.0, true), &[q.clone(), k.clone(), v.clone(), added])[0].slice(), &want, 1e-5);
        let bits: Vec<u8> = (0..18).map(|i| (i % 3 != 0) as u8).collect();
        let seen = Tensor::of(&[3, 6], Elem::Bool, &bits);
        let bias = |_, _, i: usize, j: usize| if bits[i * 6 + j] == 1 { 0.0 } else { f64::NEG_INFINITY };
        let want = naive(&op(true, 0.0, true), [&q, &k, &v], bias);
        assert_close(run(op(true, 0.0, true), &[q.clone(), k.clone(), v.clone(), seen])[0].slice(), &want, 1e-5);
        let nothing = Tensor::of(&[1], Elem::Bool, &[0u8]);
        assert!(run(op(false, 0.0, true), &[q.clone(), k.clone(), v.clone(), nothing])[0].slice::<f32>().iter().all(|&y| y == 0.0));
        assert!(refuses(op(false, 0.0, true), &[q, k, v, numbers(&[5], 1)]));
    }
}
