//! Conversion between element types (floats of 16 bits are held as f32 that they can be): float to integer truncates and saturates, NaN gives 0; integers wrap; to bool is `x != 0`.

use super::emit::{Int, Value, int_type};
use super::half;
use crate::error::CodegenError;
use inkwell::{FloatPredicate, IntPredicate};
use mokume_ir::types::Elem;

/// A value of type `from` as `to`; bools are one bit.
pub(super) fn cast<'e, 'c>(value: Value<'e, 'c>, from: Elem, to: Elem) -> Value<'e, 'c> {
    match (value, to) {
        _ if from == to => value,
        (Value::Float(x), Elem::Bool) => Value::Int(x.is(FloatPredicate::UNE, x.same(0.0))),
        (Value::Int(x), Elem::Bool) => Value::Int(x.is(IntPredicate::NE, x.same(0))),
        (Value::Int(x), Elem::F32) => to_float(x, from),
        (Value::Int(x), Elem::F16 | Elem::BF16) => cast(to_float(x, from), Elem::F32, to),
        (Value::Float(x), Elem::F16) => Value::Float(half::widened(half::narrowed(x))),
        (Value::Float(x), Elem::BF16) => Value::Float(half::b_widened(half::b_narrowed(x))),
        (Value::Float(x), Elem::F32) => Value::Float(x),
        (Value::Int(x), _) => Value::Int(resized(x, from, to.bits())),
        (Value::Float(x), _) => to_int(x, to),
    }
}

fn to_float<'e, 'c>(x: Int<'e, 'c>, from: Elem) -> Value<'e, 'c> {
    let build = x.emit.build;
    let value = match from.is_signed_int() {
        true => build.at.build_signed_int_to_float(x.value, build.float(), ""),
        false => build.at.build_unsigned_int_to_float(x.value, build.float(), ""),
    };
    Value::Float(x.emit.float_of(x.emit.kept(value.map_err(Into::into), || build.f32(0.0))))
}

fn resized<'e, 'c>(x: Int<'e, 'c>, from: Elem, bits: u32) -> Int<'e, 'c> {
    if bits < x.value.get_type().get_bit_width() { x.truncated(bits) } else { x.extended(bits, from.is_signed_int()) }
}

fn to_int<'e, 'c>(x: super::emit::Float<'e, 'c>, to: Elem) -> Value<'e, 'c> {
    let (emit, build) = (x.emit, x.emit.build);
    let ty = int_type(build, to.bits());
    let name = if to.is_signed_int() { "llvm.fptosi.sat" } else { "llvm.fptoui.sat" };
    let called = build.intrinsic_of(name, &[ty.into(), build.float().into()], &[x.value.into()]);
    let value = called.and_then(|value| value.ok_or_else(|| CodegenError::Missing(name.into())));
    Value::Int(emit.int_of(emit.kept(value, || ty.const_zero().into()).into_int_value()))
}
