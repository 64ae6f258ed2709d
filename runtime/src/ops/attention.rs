//! Scaled dot-product attention.
//!
//! Query heads that share a key head are rows of one matrix: their scores are one product, their sums another, over blocks of rows.
//! Keys and values that are rows of codes become real values a block of keys at a time, while that is in cache.

use super::gemm::{Matrix, Sizes, Target, product};
use super::operands::{operand, operand_of};
use super::real::{Real, for_reals};
use super::shared::Shared;
use super::softmax::softmax_row;
use super::{OpContext, OpError, scratch};
use crate::crew;
use crate::tensor::{PackedRows, Tensor};
use mokume_ir::op::Attention;
use mokume_ir::types::Elem;
use std::ops::Range;
use std::sync::Arc;

/// softmax(scale q kᵀ + mask) v. A row that may attend to nothing gives 0. Keys and values may be state in the making.
///
/// Errors  when the sizes do not fit.
/// Source  ONNX Attention-23.
pub fn attention(op: &Attention, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let q = operand(inputs, 0)?;
    let (k, v) = (keys_or_values(inputs, 1, q.elem())?, keys_or_values(inputs, 2, q.elem())?);
    let plan = Plan::new(op, q, k, v)?;
    let mut y = cx.alloc(&plan.result(), q.elem())?;
    for_reals!("attention", q.elem(), T => {
        let mask = if op.mask { Some(Mask::<T>::new(operand(inputs, 3)?, &plan)?) } else { None };
        plan.run::<T>(q, [Source::new(k)?, Source::new(v)?], mask.as_ref(), y.slice_mut());
        Ok(vec![y])
    })
}

fn keys_or_values<'a>(inputs: &[&'a Tensor], index: usize, elem: Elem) -> Result<&'a Tensor, OpError> {
    let tensor = operand(inputs, index)?;
    if tensor.elem().quant().is_some() && elem == Elem::F32 { Ok(tensor) } else { operand_of(inputs, index, elem) }
}

/// Rows up to which products are sums of rows as they lie.
const FEW_ROWS: usize = 8;
/// Keys whose codes become real values at a time; a multiple of the terms that are added at a time.
const KEYS: usize = 128;

/// Keys or values as they lie.
enum Source<'a> {
    Reals(&'a Tensor),
    Codes(Arc<PackedRows>),
}

impl<'a> Source<'a> {
    fn new(tensor: &'a Tensor) -> Result<Self, OpError> {
        match tensor.elem().quant() {
            Some(_) => Ok(Source::Codes(tensor.packed_rows()?)),
            None => Ok(Source::Reals(tensor)),
        }
    }
    /// Keys that are read at a time, of `count`.
    fn step(&self, count: usize) -> usize {
        if matches!(self, Source::Codes(_)) { KEYS.min(count) } else { count }
    }
    /// Elements that reading so many takes.
    fn memory(&self, count: usize, width: usize) -> usize {
        if matches!(self, Source::Codes(_)) { self.step(count) * width } else { 0 }
    }
    /// Parts of the keys `0..count` of one head, with the values of each.
    fn each<T: Real>(&self, pair: usize, count: usize, width: usize, memory: &mut [T], mut visit: impl FnMut(Range<usize>, &[T])) {
        for first in (0..count).step_by(self.step(count).max(1)) {
            let keys = first..(first + self.step(count)).min(count);
            match self {
                Source::Reals(tensor) => visit(keys.clone(), &tensor.block(2, pair)[keys.start * width..keys.end * width]),
                Source::Codes(rows) => {
                    let values = &mut memory[..keys.len() * width];
                    T::unpack(rows, 2, pair, keys.clone(), values);
                    visit(keys, values);
                }
            }
        }
    }
}

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
    fn run<T: Real>(&self, q: &Tensor, sources: [Source<'_>; 2], mask: Option<&Mask<'_, T>>, y: &mut [T]) {
        let (rows, out, q) = (self.rows(), Shared::new(y), q.slice::<T>());
        let block = ((1usize << 16) / self.t.max(1)).clamp(8, 64);
        let blocks = |pair: usize| (0..rows).step_by(block).map(move |first| (pair, first..(first + block).min(rows)));
        let tasks: Vec<(usize, Range<usize>)> = (0..self.b * self.hk).flat_map(blocks).collect();
        crew::for_each(tasks.len(), |task| {
            let (pair, range) = tasks[task].clone();
            let q = &q[(pair * rows + range.start) * self.d..][..range.len() * self.d];
            self.block(q, &sources, mask, pair, range, &out);
        });
    }
    /// Rows `range` of the queries of one key head.
    fn block<T: Real>(
        &self,
        q: &[T],
        [keys, values]: &[Source<'_>; 2],
        mask: Option<&Mask<'_, T>>,
        pair: usize,
        range: Range<usize>,
        out: &Shared<T>,
    ) {
        let reach = range.clone().map(|row| self.reach(row)).max().unwrap_or(0);
        let memory = keys.memory(reach, self.d).max(values.memory(reach, self.e));
        let few = range.len() <= FEW_ROWS && self.d > 0 && self.e > 0;
        scratch::with::<T, _>(range.len() * reach + memory, |scores| {
            let (scores, memory) = scores.split_at_mut(range.len() * reach);
            keys.each(pair, reach, self.d, memory, |keys, k| match few {
                true => T::dots(q, k, self.d, &mut scores[keys.start..], reach),
                false => self.scores(q, k, keys, scores, reach),
            });
            for (row, scores) in range.clone().zip(scores.chunks_mut(reach.max(1))) {
                self.finish_row(mask, pair, row, scores);
            }
            let runs = self.runs(pair, range.clone());
            self.clear(&runs, out);
            values.each(pair, reach, self.e, memory, |keys, v| match few {
                true => self.add_few(&scores[keys.start..], v, reach, (&runs, range.start), out),
                false => self.add(&scores[keys.start..], v, reach, (&runs, range.start), out),
            });
        });
    }
    /// Scores of many rows and these keys; a row has `reach` of them.
    fn scores<T: Real>(&self, q: &[T], k: &[T], keys: Range<usize>, scores: &mut [T], reach: usize) {
        let m = scores.len() / reach.max(1);
        let to = Target { start: keys.start, rows: reach, add: false };
        let queries = Matrix { data: q, rows: self.d, cols: 1 };
        let sizes = Sizes { m, n: keys.len(), k: self.d };
        // SAFETY: the scores belong to this task.
        unsafe { product(sizes, queries, Matrix { data: k, rows: 1, cols: self.d }, &Shared::new(scores), to, false) };
    }
    /// Results of rows begin with 0.
    fn clear<T: Real>(&self, runs: &[(Range<usize>, Target)], out: &Shared<T>) {
        for (run, to) in runs {
            // SAFETY: every task has its own rows of the output.
            (0..run.len()).for_each(|i| unsafe { out.part(to.start + i * to.rows, self.e) }.fill(T::ZERO));
        }
    }
    /// Adds the values of some keys, weighted, to the results of many rows, the first of which is number `first`.
    fn add<T: Real>(&self, weights: &[T], v: &[T], reach: usize, (runs, first): (&[(Range<usize>, Target)], usize), out: &Shared<T>) {
        for (run, to) in runs {
            let weights = Matrix { data: &weights[(run.start - first) * reach..], rows: reach, cols: 1 };
            let sizes = Sizes { m: run.len(), n: self.e, k: v.len() / self.e.max(1) };
            // SAFETY: every task has its own rows of the output.
            unsafe { product(sizes, weights, Matrix { data: v, rows: self.e, cols: 1 }, out, Target { add: true, ..*to }, false) };
        }
    }
    /// As [`Plan::add`] for few rows, as when decoding: values are read as they lie.
    fn add_few<T: Real>(&self, weights: &[T], v: &[T], reach: usize, (runs, first): (&[(Range<usize>, Target)], usize), out: &Shared<T>) {
        for (run, to) in runs {
            for (i, row) in run.clone().enumerate() {
                let weights = &weights[(row - first) * reach..][..v.len() / self.e];
                // SAFETY: every task has its own rows of the output.
                T::add_rows(weights, v, unsafe { out.part(to.start + i * to.rows, self.e) });
            }
        }
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
    use mokume_ir::op::Dequantize;
    use mokume_ir::quant::{Granularity, Levels, QuantType};

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

    /// Codes per row, packed as in state.
    fn packed(x: &Tensor, bits: u8, zero_point: bool) -> Tensor {
        let levels = if zero_point { Levels::Unsigned } else { Levels::Signed };
        let to = QuantType { bits, levels, granularity: Granularity::Row, zero_point };
        let mut dims = x.dims().to_vec();
        dims[2] = 0;
        Tensor::no_rows(&dims, to).unwrap().appended(2, x).unwrap()
    }

    #[test]
    fn codes_give_what_their_real_values_give() {
        for (bits, zero_point) in [(8, true), (8, false), (4, true), (3, false), (3, true), (2, true)] {
            for (s, t, join_heads) in [(1, 300, true), (2, 128, false), (1, 5, true), (40, 333, true), (33, 33, false), (3, 2, false)] {
                let (q, k, v) = (numbers(&[2, 6, s, 64], 1), numbers(&[2, 2, t, 64], 2), numbers(&[2, 2, t, 40], 3));
                let (k, v) = (packed(&k, bits, zero_point), packed(&v, 4, true));
                let reals = [&k, &v].map(|x| run(Dequantize {}, &[x.dense()]).remove(0));
                let op = || Attention { join_heads, ..op(true, 0.0, false) };
                let want = run(op(), &[q.clone(), reals[0].clone(), reals[1].clone()]);
                let few = 3 * s <= FEW_ROWS;
                for (k, v) in [(k.clone(), v.clone()), (k.dense(), v.dense()), (k, reals[1].clone())] {
                    let y = run(op(), &[q.clone(), k, v]);
                    assert_close(y[0].slice(), want[0].slice(), 1e-6);
                    assert!(!few || y[0].slice::<f32>() == want[0].slice::<f32>(), "few rows give the same bits");
                }
            }
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
