//! Attention: softmax over keys as they come, 128 at a time, with results scaled down whenever a larger score appears.

use super::codes::Rows;
use super::emit::{Emit, Float, Int, Memory, Value};
use super::{math, params};
use crate::gpu::build::{Axis, Build, Param, Result};
use inkwell::{FloatPredicate, IntPredicate};
use mokume_runtime::gpu::kernel::{Attention, Mask, ROW_THREADS};

/// Sizes and strides, as the launch gives them.
struct Sizes<'e, 'c> {
    e: Int<'e, 'c>,
    scale: Float<'e, 'c>,
    cap: Option<Float<'e, 'c>>,
}

/// A block per query row; in a tile of keys a thread has one key, then some columns of the result.
pub(super) fn emit(build: &Build<'_>, name: &str, config: &Attention) -> Result<()> {
    let masked = config.mask != Mask::None;
    let mut signature = params(4 + usize::from(masked), 11);
    signature.extend(vec![Param::F32; 1 + usize::from(config.softcap)]);
    signature.extend(params(0, if masked { 4 } else { 0 }));
    let e = &Emit::new(build, name, &signature, ROW_THREADS);
    let (q, k, v) = (e.address(), e.address(), e.address());
    let (mask, y) = (masked.then(|| e.address()), e.address());
    let [hq, hk, s, t, d, width, k_stride, v_stride] = e.sizes();
    let [y_batch, y_head, y_row] = e.sizes();
    let (scale, cap) = (e.number(), config.softcap.then(|| e.number()));
    let mask_strides: Option<[Int<'_, '_>; 4]> = masked.then(|| e.sizes());

    let (number, thread) = (e.block(Axis::X), e.thread());
    let (row, pair) = (number % s, number / s);
    let (head, batch) = (pair % hq, pair / hq);
    let kv = batch * hk + head / (hq / hk);
    let q = q.from(number * d, 4);
    let (k, v) = (Rows::new(k, config.keys, d, (kv, k_stride)), Rows::new(v, config.values, width, (kv, v_stride)));
    let y = y.from(batch * y_batch + head * y_head + row * y_row, 4);
    let mask = mask.zip(mask_strides).map(|(mask, [b, h, i, j])| (mask, batch * b + head * h + row * i, j));
    // A query sees the keys up to its own place, counted from the end; none when it lies before the first.
    let seen = row + t + 1;
    let reach = if config.causal { seen.is(IntPredicate::SGT, s).choose((seen - s).least(t), e.int(0)) } else { t };
    let sizes = Sizes { e: width, scale, cap };

    let words = e.shared(&format!("{name}_words"), ROW_THREADS);
    let weights = e.shared(&format!("{name}_weights"), ROW_THREADS);
    let mut carried = vec![e.float(f32::NEG_INFINITY), e.float(0.0)];
    carried.extend(vec![e.float(0.0); config.columns as usize]);
    let carried: Vec<Value<'_, '_>> = carried.into_iter().map(Value::Float).collect();
    let tile = i64::from(ROW_THREADS);
    let ended = e.repeat((e.int(0), reach, e.int(tile)), &carried, |first, carried| {
        let (before, total) = (carried[0].float(), carried[1].float());
        let key = first + thread;
        let score = score(e, (q, k, mask), config, &sizes, key, reach);
        let most = e.combine(words, ROW_THREADS, Value::Float(score), |a, b| Value::Float(a.float().max(b.float()))).float();
        let most = before.max(most);
        let base = most.is(FloatPredicate::OEQ, e.float(f32::NEG_INFINITY)).pick(e.float(0.0), most);
        let weight = math::exp(score - base);
        let weight = score.is(FloatPredicate::OEQ, e.float(f32::NEG_INFINITY)).pick(e.float(0.0), weight);
        weights.set(thread, weight);
        let sum = e.combine(words, ROW_THREADS, Value::Float(weight), |a, b| Value::Float(a.float() + b.float())).float();
        let shrink = before.is(FloatPredicate::OEQ, e.float(f32::NEG_INFINITY)).pick(e.float(0.0), math::exp(before - base));
        let mut next = vec![Value::Float(most), Value::Float(total * shrink + sum)];
        let keys = (reach - first).least(e.int(tile));
        for (column, held) in carried[2..].iter().enumerate() {
            let at = thread + column as i64 * tile;
            // Threads beyond the width read its first column, and store nothing.
            let at = at.below(sizes.e).choose(at, e.int(0));
            let [held] = e.fold((e.int(0), keys, e.int(1)), [held.float() * shrink], |j, [sum]| {
                [sum + weights.float(j) * v.element(e, first + j, at)]
            });
            next.push(Value::Float(held));
        }
        e.barrier();
        next
    });
    let total = ended[1].float();
    let nothing = total.is(FloatPredicate::OEQ, e.float(0.0));
    for (column, held) in ended[2..].iter().enumerate() {
        let at = thread + column as i64 * tile;
        e.when(at.below(sizes.e), || y.set(at, nothing.pick(e.float(0.0), held.float() / total)));
    }
    e.end()
}

/// The score of a key; minus infinity from `reach` on and where the mask excludes it.
fn score<'e, 'c>(
    e: &'e Emit<'e, 'c>,
    (q, k, mask): (Memory<'e, 'c>, Rows<'e, 'c>, Option<(Memory<'e, 'c>, Int<'e, 'c>, Int<'e, 'c>)>),
    config: &Attention,
    sizes: &Sizes<'e, 'c>,
    key: Int<'e, 'c>,
    reach: Int<'e, 'c>,
) -> Float<'e, 'c> {
    let inside = key.below(reach);
    // Threads without a key read the first one.
    let key = inside.choose(key, e.int(0));
    let mut score = k.dot(e, q, key) * sizes.scale;
    if let Some(cap) = sizes.cap {
        score = math::tanh(score / cap) * cap;
    }
    if let Some((mask, start, stride)) = mask {
        let at = start + key * stride;
        score = match config.mask {
            Mask::Bool => {
                let seen = mask.load(e.build.context.i8_type().into(), at).int();
                seen.is(IntPredicate::NE, seen.same(0)).pick(score, e.float(f32::NEG_INFINITY))
            }
            _ => score + mask.float(at),
        };
    }
    inside.pick(score, e.float(f32::NEG_INFINITY))
}
