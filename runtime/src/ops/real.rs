//! Real numbers: the arithmetic that generic float ops need, for f32 and f64; half floats compute as f32.

use super::{OpContext, OpError, gemv, simd};
use crate::tensor::{PackedRows, Scalar, Tensor};
use half::{bf16, f16};
use mokume_ir::types::Elem;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Range, Sub, SubAssign};

/// f32 or f64.
pub trait Real:
    Scalar
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// -inf
    const NEG_INFINITY: Self;
    /// Its element type.
    const ELEM: Elem;
    /// The nearest value.
    fn of(value: f64) -> Self;
    /// Its value.
    fn to_f64(self) -> f64;
    /// e^x
    fn exp(self) -> Self;
    /// ln x
    fn ln(self) -> Self;
    /// √x
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// x^y
    fn powf(self, exponent: Self) -> Self;
    /// |x|
    fn abs(self) -> Self;
    /// The larger; a NaN loses.
    fn max(self, other: Self) -> Self;
    /// The smaller; a NaN loses.
    fn min(self, other: Self) -> Self;
    /// The largest element; -inf for none.
    fn largest(x: &[Self]) -> Self;
    /// Replaces every element by `e^(x - shift)`; gives the sum.
    fn exp_shifted(x: &mut [Self], shift: Self) -> Self;
    /// `out[i stride + j] = Σ_p a[i, p] b[j, p]` of rows of `k` elements; meant for few rows `a`.
    fn dots(a: &[Self], b: &[Self], k: usize, out: &mut [Self], stride: usize);
    /// `out += Σ_p a[p] b[p]` of rows `b` as long as `out`; four terms at a time.
    fn add_rows(a: &[Self], b: &[Self], out: &mut [Self]);
    /// The real values of rows of codes: [`PackedRows::unpack`].
    fn unpack(rows: &PackedRows, axis: usize, index: usize, range: Range<usize>, out: &mut [Self]);
}

macro_rules! real {
    ($ty:ident, $elem:ident, $largest:path, $exp_shifted:path, $dots:path, $add_rows:path, $unpack:path) => {
        impl Real for $ty {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $ty::NEG_INFINITY;
            const ELEM: Elem = Elem::$elem;
            fn of(value: f64) -> Self {
                value as $ty
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn exp(self) -> Self {
                $ty::exp(self)
            }
            fn ln(self) -> Self {
                $ty::ln(self)
            }
            fn sqrt(self) -> Self {
                $ty::sqrt(self)
            }
            fn tanh(self) -> Self {
                $ty::tanh(self)
            }
            fn powf(self, exponent: Self) -> Self {
                $ty::powf(self, exponent)
            }
            fn abs(self) -> Self {
                $ty::abs(self)
            }
            fn max(self, other: Self) -> Self {
                $ty::max(self, other)
            }
            fn min(self, other: Self) -> Self {
                $ty::min(self, other)
            }
            fn largest(x: &[Self]) -> Self {
                $largest(x)
            }
            fn exp_shifted(x: &mut [Self], shift: Self) -> Self {
                $exp_shifted(x, shift)
            }
            fn dots(a: &[Self], b: &[Self], k: usize, out: &mut [Self], stride: usize) {
                $dots(a, b, k, out, stride);
            }
            fn add_rows(a: &[Self], b: &[Self], out: &mut [Self]) {
                $add_rows(a, b, out.len(), out);
            }
            fn unpack(rows: &PackedRows, axis: usize, index: usize, range: Range<usize>, out: &mut [Self]) {
                $unpack(rows, axis, index, range, out);
            }
        }
    };
}

real!(f32, F32, simd::max, simd::exp_shifted, gemv::dots, gemv::add_rows, PackedRows::unpack);
real!(f64, F64, largest_f64, exp_shifted_f64, dots_f64, add_rows_f64, unpack_f64);

fn largest_f64(x: &[f64]) -> f64 {
    x.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b))
}

fn exp_shifted_f64(x: &mut [f64], shift: f64) -> f64 {
    x.iter_mut().for_each(|x| *x = (*x - shift).exp());
    x.iter().sum()
}

fn dots_f64(a: &[f64], b: &[f64], k: usize, out: &mut [f64], stride: usize) {
    for (i, a) in a.chunks_exact(k).enumerate() {
        let rows = out[i * stride..].iter_mut().zip(b.chunks_exact(k));
        rows.for_each(|(out, b)| *out = a.iter().zip(b).map(|(a, b)| a * b).sum());
    }
}

fn unpack_f64(rows: &PackedRows, axis: usize, index: usize, range: Range<usize>, out: &mut [f64]) {
    let mut values = vec![0.0; out.len()];
    rows.unpack(axis, index, range, &mut values);
    out.iter_mut().zip(values).for_each(|(out, value)| *out = f64::from(value));
}

fn add_rows_f64(a: &[f64], b: &[f64], width: usize, out: &mut [f64]) {
    for (a, b) in a.iter().zip(b.chunks_exact(width)) {
        out.iter_mut().zip(b).for_each(|(out, b)| *out += a * b);
    }
}

/// Evaluates `$body` with the type alias `$T` bound to f32 or f64 as `$elem` says, else refuses.
macro_rules! for_reals {
    ($op:expr, $elem:expr, $T:ident => $body:expr) => {
        match $elem {
            mokume_ir::types::Elem::F32 => {
                type $T = f32;
                $body
            }
            mokume_ir::types::Elem::F64 => {
                type $T = f64;
                $body
            }
            other => $crate::ops::operands::no_code($op, other),
        }
    };
}
pub(crate) use for_reals;

/// True for f16 and bf16.
pub fn is_half(elem: Elem) -> bool {
    matches!(elem, Elem::F16 | Elem::BF16)
}

/// Runs an op on half floats as f32; results in f32 become `elem` again.
pub fn through_f32(
    inputs: &[&Tensor],
    elem: Elem,
    cx: &OpContext<'_>,
    run: impl FnOnce(&[&Tensor]) -> Result<Vec<Tensor>, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let wide = inputs.iter().map(|x| widen(x, cx)).collect::<Result<Vec<_>, _>>()?;
    let outputs = run(&wide.iter().collect::<Vec<_>>())?;
    outputs.into_iter().map(|y| narrow(y, elem, cx)).collect()
}

/// Half floats as f32; other tensors as they are.
fn widen(x: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    if !is_half(x.elem()) {
        return Ok(x.clone());
    }
    let mut wide = cx.alloc(x.dims(), Elem::F32)?;
    let out = wide.slice_mut::<f32>();
    match x.elem() {
        Elem::F16 => out.iter_mut().zip(x.slice::<f16>()).for_each(|(to, from)| *to = from.to_f32()),
        _ => out.iter_mut().zip(x.slice::<bf16>()).for_each(|(to, from)| *to = from.to_f32()),
    }
    Ok(wide)
}

/// f32 as half floats; other tensors as they are.
fn narrow(x: Tensor, elem: Elem, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    if x.elem() != Elem::F32 {
        return Ok(x);
    }
    let mut thin = cx.alloc(x.dims(), elem)?;
    let wide = x.slice::<f32>();
    match elem {
        Elem::F16 => thin.slice_mut::<f16>().iter_mut().zip(wide).for_each(|(to, from)| *to = f16::from_f32(*from)),
        _ => thin.slice_mut::<bf16>().iter_mut().zip(wide).for_each(|(to, from)| *to = bf16::from_f32(*from)),
    }
    Ok(thin)
}
