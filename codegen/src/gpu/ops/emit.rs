//! Kernels of ops as they would be written by hand: values with operators, loops that carry values, and blocks of threads that
//! combine what they found.
//!
//! The builder only fails when types do not fit, a bug that would show in every kernel; the first failure is kept and told by
//! [`Emit::end`], so that expressions stay expressions.

use crate::error::CodegenError;
use crate::gpu::build::{Axis, Build, Param, Result};
use inkwell::types::{BasicTypeEnum, IntType};
use inkwell::values::{BasicValue, BasicValueEnum, FloatValue, IntValue, PointerValue};
use inkwell::{FloatPredicate, IntPredicate};
use mokume_runtime::gpu::kernel::RANK;
use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

/// Where a kernel is written.
pub(super) struct Emit<'e, 'c> {
    pub(super) build: &'e Build<'c>,
    params: RefCell<std::vec::IntoIter<BasicValueEnum<'c>>>,
    failed: RefCell<Option<CodegenError>>,
}

/// An integer of 64 bits, or as [`Int::narrow`] makes it.
#[derive(Clone, Copy)]
pub(super) struct Int<'e, 'c> {
    pub(super) emit: &'e Emit<'e, 'c>,
    pub(super) value: IntValue<'c>,
}

/// An f32.
#[derive(Clone, Copy)]
pub(super) struct Float<'e, 'c> {
    pub(super) emit: &'e Emit<'e, 'c>,
    pub(super) value: FloatValue<'c>,
}

/// Memory, global or shared.
#[derive(Clone, Copy)]
pub(super) struct Memory<'e, 'c> {
    pub(super) emit: &'e Emit<'e, 'c>,
    pub(super) value: PointerValue<'c>,
}

impl<'e, 'c> Emit<'e, 'c> {
    /// Begins a kernel.
    pub(super) fn new(build: &'e Build<'c>, name: &str, params: &[Param], threads: u32) -> Self {
        let params = build.kernel(name, params, threads);
        Emit { build, params: RefCell::new(params.into_iter()), failed: RefCell::new(None) }
    }
    /// Ends the kernel.
    ///
    /// Errors  with the first thing that the builder refused.
    pub(super) fn end(&self) -> Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.build.end(),
        }
    }
    /// What the builder gave; `instead` when it refused.
    pub(super) fn kept<T>(&self, result: Result<T>, instead: impl FnOnce() -> T) -> T {
        result.unwrap_or_else(|error| {
            self.failed.borrow_mut().get_or_insert(error);
            instead()
        })
    }
    fn param(&self) -> Option<BasicValueEnum<'c>> {
        let next = self.params.borrow_mut().next();
        if next.is_none() {
            self.kept(Err(CodegenError::Missing("a parameter of a kernel".into())), || ());
        }
        next
    }
    /// The next parameter, an address.
    pub(super) fn address(&'e self) -> Memory<'e, 'c> {
        let null = || self.build.global_pointer().const_null();
        Memory { emit: self, value: self.param().map_or_else(null, BasicValueEnum::into_pointer_value) }
    }
    /// The next parameter, an i64.
    pub(super) fn size(&'e self) -> Int<'e, 'c> {
        self.int_of(self.param().map_or_else(|| self.build.i64(0), BasicValueEnum::into_int_value))
    }
    /// The next parameters, i64.
    pub(super) fn sizes<const N: usize>(&'e self) -> [Int<'e, 'c>; N] {
        std::array::from_fn(|_| self.size())
    }
    /// The next parameter, an f32.
    pub(super) fn number(&'e self) -> Float<'e, 'c> {
        self.float_of(self.param().map_or_else(|| self.build.f32(0.0), BasicValueEnum::into_float_value))
    }
    pub(super) fn int_of(&'e self, value: IntValue<'c>) -> Int<'e, 'c> {
        Int { emit: self, value }
    }
    pub(super) fn float_of(&'e self, value: FloatValue<'c>) -> Float<'e, 'c> {
        Float { emit: self, value }
    }
    /// An i64 constant.
    pub(super) fn int(&'e self, value: i64) -> Int<'e, 'c> {
        self.int_of(self.build.i64(value))
    }
    /// An f32 constant.
    pub(super) fn float(&'e self, value: f32) -> Float<'e, 'c> {
        self.float_of(self.build.f32(value))
    }
    fn wide(&'e self, value: Result<IntValue<'c>>) -> Int<'e, 'c> {
        self.int_of(self.kept(value.and_then(|value| self.build.widen(value)), || self.build.i64(0)))
    }
    /// Number of the thread in its block.
    pub(super) fn thread(&'e self) -> Int<'e, 'c> {
        self.wide(self.build.thread())
    }
    /// Number of the block.
    pub(super) fn block(&'e self, axis: Axis) -> Int<'e, 'c> {
        self.wide(self.build.group(axis))
    }
    /// Number of the thread among those of all blocks of `threads` along x.
    pub(super) fn global_thread(&'e self, threads: u32) -> Int<'e, 'c> {
        self.block(Axis::X) * i64::from(threads) + self.thread()
    }
    /// Waits for all threads of the block.
    pub(super) fn barrier(&self) {
        self.kept(self.build.barrier(), || ());
    }
    /// Shared memory of the kernel's own.
    pub(super) fn shared(&'e self, name: &str, words: u32) -> Memory<'e, 'c> {
        Memory { emit: self, value: self.build.own_shared(name, words) }
    }
    /// `if condition { body }`
    pub(super) fn when(&self, condition: Int<'e, 'c>, body: impl FnOnce()) {
        let built = self.build.when(condition.value, || {
            body();
            Ok(())
        });
        self.kept(built, || ());
    }
    /// `for i in (begin..end).step_by(step) { carried = body(i, carried) }`
    pub(super) fn repeat(
        &'e self,
        (begin, end, step): (Int<'e, 'c>, Int<'e, 'c>, Int<'e, 'c>),
        carried: &[Value<'e, 'c>],
        body: impl FnOnce(Int<'e, 'c>, &[Value<'e, 'c>]) -> Vec<Value<'e, 'c>>,
    ) -> Vec<Value<'e, 'c>> {
        let raw: Vec<BasicValueEnum<'c>> = carried.iter().map(|value| value.raw()).collect();
        let ended = self.build.repeat(begin.value, end.value, step.value, &raw, |i, values| {
            let values: Vec<Value<'e, 'c>> = values.iter().map(|&value| self.value(value)).collect();
            Ok(body(self.int_of(i), &values).iter().map(|value| value.raw()).collect())
        });
        self.kept(ended, || raw.clone()).into_iter().map(|value| self.value(value)).collect()
    }
    /// [`Emit::repeat`] with f32 values.
    pub(super) fn fold<const N: usize>(
        &'e self,
        range: (Int<'e, 'c>, Int<'e, 'c>, Int<'e, 'c>),
        carried: [Float<'e, 'c>; N],
        body: impl FnOnce(Int<'e, 'c>, [Float<'e, 'c>; N]) -> [Float<'e, 'c>; N],
    ) -> [Float<'e, 'c>; N] {
        let floats = |values: &[Value<'e, 'c>]| std::array::from_fn(|i| values[i].float());
        let ended = self.repeat(range, &carried.map(Value::Float), |i, values| body(i, floats(values)).map(Value::Float).to_vec());
        floats(&ended)
    }
    /// `for i in (begin..end).step_by(step) { body(i) }`
    pub(super) fn each(&'e self, range: (Int<'e, 'c>, Int<'e, 'c>, Int<'e, 'c>), body: impl FnOnce(Int<'e, 'c>)) {
        self.repeat(range, &[], |i, _| {
            body(i);
            vec![]
        });
    }
    pub(super) fn value(&'e self, value: BasicValueEnum<'c>) -> Value<'e, 'c> {
        match value {
            BasicValueEnum::FloatValue(value) => Value::Float(self.float_of(value)),
            BasicValueEnum::IntValue(value) => Value::Int(self.int_of(value)),
            _ => {
                self.kept(Err(CodegenError::Llvm("a value is no number".into())), || ());
                Value::Int(self.int(0))
            }
        }
    }
    /// Combines the values of all threads of a block in a fixed order; every thread gets the result. `words` is shared memory with a
    /// word (two for 64 bits) per thread, free for this.
    pub(super) fn combine(
        &'e self,
        words: Memory<'e, 'c>,
        threads: u32,
        own: Value<'e, 'c>,
        join: impl Fn(Value<'e, 'c>, Value<'e, 'c>) -> Value<'e, 'c>,
    ) -> Value<'e, 'c> {
        let (ty, thread) = (own.raw().get_type(), self.thread());
        words.store(thread, own);
        let mut half = threads / 2;
        while half > 0 {
            self.barrier();
            self.when(thread.below(self.int(half.into())), || {
                words.store(thread, join(words.load(ty, thread), words.load(ty, thread + i64::from(half))));
            });
            half /= 2;
        }
        self.barrier();
        let result = words.load(ty, self.int(0));
        self.barrier();
        result
    }
    /// Places of element `index` under several strides: `Σ (index / below % size) * stride`.
    pub(super) fn place<const N: usize>(
        &'e self,
        index: Int<'e, 'c>,
        dims: [Int<'e, 'c>; RANK],
        strides: [[Int<'e, 'c>; RANK]; N],
    ) -> [Int<'e, 'c>; N] {
        let strides: Vec<[Int<'e, 'c>; RANK]> = strides.to_vec();
        let places = self.places(index, dims, &strides);
        std::array::from_fn(|i| places[i])
    }
    /// [`Emit::place`] for any number of strides.
    pub(super) fn places(&'e self, index: Int<'e, 'c>, dims: [Int<'e, 'c>; RANK], strides: &[[Int<'e, 'c>; RANK]]) -> Vec<Int<'e, 'c>> {
        let mut left = index.narrow();
        let mut places = vec![self.int(0); strides.len()];
        for axis in (0..RANK).rev() {
            let size = dims[axis].narrow();
            let at = (left % size).widen();
            left = left / size;
            for (place, strides) in places.iter_mut().zip(strides) {
                *place = *place + at * strides[axis];
            }
        }
        places
    }
}

/// A number.
#[derive(Clone, Copy)]
pub(super) enum Value<'e, 'c> {
    /// An f32.
    Float(Float<'e, 'c>),
    /// An integer of any width.
    Int(Int<'e, 'c>),
}

impl<'e, 'c> Value<'e, 'c> {
    pub(super) fn raw(self) -> BasicValueEnum<'c> {
        match self {
            Value::Float(value) => value.value.into(),
            Value::Int(value) => value.value.into(),
        }
    }
    pub(super) fn float(self) -> Float<'e, 'c> {
        match self {
            Value::Float(value) => value,
            Value::Int(value) => {
                value.emit.kept(Err(CodegenError::Llvm("an integer is no float".into())), || ());
                value.emit.float(0.0)
            }
        }
    }
    pub(super) fn int(self) -> Int<'e, 'c> {
        match self {
            Value::Int(value) => value,
            Value::Float(value) => {
                value.emit.kept(Err(CodegenError::Llvm("a float is no integer".into())), || ());
                value.emit.int(0)
            }
        }
    }
}

impl<'e, 'c> Memory<'e, 'c> {
    fn at(self, index: Int<'e, 'c>, bytes: i64) -> PointerValue<'c> {
        let offset = index * bytes;
        self.emit.kept(self.emit.build.offset(self.value, offset.value), || self.value)
    }
    /// Element `index` of this type.
    pub(super) fn load(self, ty: BasicTypeEnum<'c>, index: Int<'e, 'c>) -> Value<'e, 'c> {
        let loaded = self.emit.build.load(ty, self.at(index, bytes(ty)));
        self.emit.value(self.emit.kept(loaded, || ty.const_zero()))
    }
    /// Writes element `index`.
    pub(super) fn store(self, index: Int<'e, 'c>, value: Value<'e, 'c>) {
        let to = self.at(index, bytes(value.raw().get_type()));
        self.emit.kept(self.emit.build.store(to, value.raw()), || ());
    }
    /// The f32 element `index`.
    pub(super) fn float(self, index: Int<'e, 'c>) -> Float<'e, 'c> {
        self.load(self.emit.build.float().into(), index).float()
    }
    /// Byte `index`, unsigned, as a word of 32 bits.
    pub(super) fn byte(self, index: Int<'e, 'c>) -> Int<'e, 'c> {
        self.load(self.emit.build.context.i8_type().into(), index).int().extended(32, false)
    }
    /// Writes the f32 element `index`.
    pub(super) fn set(self, index: Int<'e, 'c>, value: Float<'e, 'c>) {
        self.store(index, Value::Float(value));
    }
    /// The memory from element `index` of `bytes` on.
    pub(super) fn from(self, index: Int<'e, 'c>, bytes: i64) -> Self {
        Memory { value: self.at(index, bytes), ..self }
    }
}

/// The type of integers of so many bits: 1, 8, 16, 32, else 64.
pub(super) fn int_type<'c>(build: &Build<'c>, bits: u32) -> IntType<'c> {
    match bits {
        1 => build.context.bool_type(),
        8 => build.context.i8_type(),
        16 => build.context.i16_type(),
        32 => build.int(),
        _ => build.long(),
    }
}

/// Bytes of an integer or float type.
fn bytes(ty: BasicTypeEnum<'_>) -> i64 {
    match ty {
        BasicTypeEnum::IntType(ty) => i64::from(ty.get_bit_width() / 8),
        _ => 4,
    }
}

impl<'e, 'c> Int<'e, 'c> {
    pub(super) fn of(self, value: Result<IntValue<'c>>) -> Self {
        Int { value: self.emit.kept(value, || self.value), ..self }
    }
    pub(super) fn is(self, how: IntPredicate, other: Self) -> Self {
        self.of(self.emit.build.is(self.value, how, other.value))
    }
    /// Unsigned `self < other`.
    pub(super) fn below(self, other: Self) -> Self {
        self.is(IntPredicate::ULT, other)
    }
    pub(super) fn and(self, other: Self) -> Self {
        self.of(self.emit.build.and(self.value, other.value))
    }
    pub(super) fn or(self, other: Self) -> Self {
        self.of(self.emit.build.or(self.value, other.value))
    }
    /// A constant of the same width.
    pub(super) fn same(self, value: i64) -> Self {
        Int { value: self.value.get_type().const_int(value as u64, true), ..self }
    }
    /// To 32 bits.
    pub(super) fn narrow(self) -> Self {
        self.of(self.emit.build.narrow(self.value))
    }
    /// To 64 bits, unsigned.
    pub(super) fn widen(self) -> Self {
        self.of(self.emit.build.widen(self.value))
    }
    /// To `bits` bits, at least as many as it has.
    pub(super) fn extended(self, bits: u32, signed: bool) -> Self {
        let ty = int_type(self.emit.build, bits);
        let value = match signed {
            _ if bits == self.value.get_type().get_bit_width() => return self,
            true => self.emit.build.at.build_int_s_extend(self.value, ty, ""),
            false => self.emit.build.at.build_int_z_extend(self.value, ty, ""),
        };
        Int { value: self.emit.kept(value.map_err(Into::into), || ty.const_zero()), ..self }
    }
    /// The low `bits` bits, fewer than it has.
    pub(super) fn truncated(self, bits: u32) -> Self {
        let ty = int_type(self.emit.build, bits);
        let value = self.emit.build.at.build_int_truncate(self.value, ty, "");
        Int { value: self.emit.kept(value.map_err(Into::into), || ty.const_zero()), ..self }
    }
    /// Shift right by a constant; the sign stays.
    pub(super) fn halved(self, by: i64) -> Self {
        self.of(self.emit.build.at.build_right_shift(self.value, self.same(by).value, true, "").map_err(Into::into))
    }
    /// Shift right by a constant; zeros come in.
    pub(super) fn shifted(self, by: i64) -> Self {
        self.of(self.emit.build.at.build_right_shift(self.value, self.same(by).value, false, "").map_err(Into::into))
    }
    /// Shift right; zeros come in.
    pub(super) fn down(self, by: Self) -> Self {
        self.of(self.emit.build.at.build_right_shift(self.value, by.value, false, "").map_err(Into::into))
    }
    /// Signed quotient; the divisor is not 0, and not -1 for the smallest number.
    pub(super) fn quotient(self, by: Self) -> Self {
        self.of(self.emit.build.at.build_int_signed_div(self.value, by.value, "").map_err(Into::into))
    }
    /// Bits that are in one but not in both.
    pub(super) fn xor(self, other: Self) -> Self {
        self.of(self.emit.build.xor(self.value, other.value))
    }
    /// Unsigned minimum.
    pub(super) fn least(self, other: Self) -> Self {
        self.of(self.emit.build.least(self.value, other.value))
    }
    /// `self ? yes : no`
    pub(super) fn pick(self, yes: Float<'e, 'c>, no: Float<'e, 'c>) -> Float<'e, 'c> {
        Float { value: self.emit.kept(self.emit.build.select(self.value, yes.value, no.value), || no.value), ..no }
    }
    /// `self ? yes : no`
    pub(super) fn choose(self, yes: Self, no: Self) -> Self {
        Int { value: self.emit.kept(self.emit.build.select(self.value, yes.value, no.value), || no.value), ..no }
    }
    /// A signed integer as f32.
    pub(super) fn to_float(self) -> Float<'e, 'c> {
        self.emit.float_of(self.emit.kept(self.emit.build.to_float(self.value), || self.emit.build.f32(0.0)))
    }
}

impl<'e, 'c> Float<'e, 'c> {
    pub(super) fn of(self, value: Result<FloatValue<'c>>) -> Self {
        Float { value: self.emit.kept(value, || self.value), ..self }
    }
    /// Ordered comparison: false with NaN.
    pub(super) fn is(self, how: FloatPredicate, other: Self) -> Int<'e, 'c> {
        let value = self.emit.build.fis(self.value, how, other.value);
        self.emit.int_of(self.emit.kept(value, || self.emit.build.context.bool_type().const_zero()))
    }
    pub(super) fn lt(self, other: Self) -> Int<'e, 'c> {
        self.is(FloatPredicate::OLT, other)
    }
    pub(super) fn gt(self, other: Self) -> Int<'e, 'c> {
        self.is(FloatPredicate::OGT, other)
    }
    /// Whether it is NaN.
    pub(super) fn is_nan(self) -> Int<'e, 'c> {
        self.is(FloatPredicate::UNO, self)
    }
    /// The bits, 32.
    pub(super) fn bits(self) -> Int<'e, 'c> {
        self.emit.int_of(self.emit.kept(self.emit.build.bits(self.value), || self.emit.build.i32(0)))
    }
    /// A constant.
    pub(super) fn same(self, value: f32) -> Self {
        self.emit.float(value)
    }
    /// Calls a function of LLVM such as `llvm.sqrt`.
    pub(super) fn call(self, name: &str) -> Self {
        let ty = self.emit.build.float().into();
        let called = self.emit.build.intrinsic_of(name, &[ty], &[self.value.into()]);
        let value = called.and_then(|value| value.ok_or_else(|| CodegenError::Missing(name.into())));
        Float { value: self.emit.kept(value, || self.value.as_basic_value_enum()).into_float_value(), ..self }
    }
    /// The larger; NaN wins.
    pub(super) fn max(self, other: Self) -> Self {
        self.is(FloatPredicate::OGT, other).or(self.is_nan()).pick(self, other)
    }
    /// The smaller; NaN wins.
    pub(super) fn min(self, other: Self) -> Self {
        self.is(FloatPredicate::OLT, other).or(self.is_nan()).pick(self, other)
    }
}

impl<'e, 'c> Int<'e, 'c> {
    /// The f32 with these 32 bits.
    pub(super) fn as_float(self) -> Float<'e, 'c> {
        self.emit.float_of(self.emit.kept(self.emit.build.float_of(self.value), || self.emit.build.f32(0.0)))
    }
}

/// Operators on values and on constants of the same width.
macro_rules! operators {
    ($($Op:ident $op:ident: $int:ident $float:ident;)+) => {
        $(
            impl<'e, 'c> $Op for Int<'e, 'c> {
                type Output = Self;
                fn $op(self, other: Self) -> Self {
                    self.of(self.emit.build.$int(self.value, other.value))
                }
            }
            impl<'e, 'c> $Op<i64> for Int<'e, 'c> {
                type Output = Self;
                fn $op(self, other: i64) -> Self {
                    self.$op(self.same(other))
                }
            }
            impl<'e, 'c> $Op for Float<'e, 'c> {
                type Output = Self;
                fn $op(self, other: Self) -> Self {
                    self.of(self.emit.build.$float(self.value, other.value))
                }
            }
            impl<'e, 'c> $Op<f32> for Float<'e, 'c> {
                type Output = Self;
                fn $op(self, other: f32) -> Self {
                    self.$op(self.same(other))
                }
            }
        )+
    };
}

operators! {
    Add add: add fadd;
    Sub sub: sub fsub;
    Mul mul: mul fmul;
    Div div: udiv fdiv;
}

/// Unsigned.
impl<'e, 'c> Rem for Int<'e, 'c> {
    type Output = Self;
    fn rem(self, other: Self) -> Self {
        self.of(self.emit.build.urem(self.value, other.value))
    }
}

impl<'e, 'c> Rem<i64> for Int<'e, 'c> {
    type Output = Self;
    fn rem(self, other: i64) -> Self {
        self % self.same(other)
    }
}

impl<'e, 'c> Neg for Float<'e, 'c> {
    type Output = Self;
    fn neg(self) -> Self {
        self.of(self.emit.build.at.build_float_neg(self.value, "").map_err(Into::into))
    }
}
