//! The parameters of a kernel, by name.

use crate::gpu::build::{Build, Param};
use inkwell::values::{BasicValueEnum, IntValue, PointerValue};
use mokume_runtime::gpu::abi::MatmulArgs;

/// Parameters, named as in [`MatmulArgs`].
#[derive(Clone, Copy)]
pub(super) struct Args<'c> {
    pub(super) activations: PointerValue<'c>,
    pub(super) corrections: PointerValue<'c>,
    pub(super) centers: PointerValue<'c>,
    pub(super) scales: PointerValue<'c>,
    pub(super) weights: PointerValue<'c>,
    pub(super) w_scales: PointerValue<'c>,
    pub(super) w_zeros: PointerValue<'c>,
    pub(super) w_sums: PointerValue<'c>,
    pub(super) bias: PointerValue<'c>,
    pub(super) out: PointerValue<'c>,
    pub(super) m: IntValue<'c>,
    pub(super) n: IntValue<'c>,
    pub(super) chunks: IntValue<'c>,
    pub(super) blocks: IntValue<'c>,
}

impl<'c> Args<'c> {
    /// Begins the kernel `name`.
    pub(super) fn begin(build: &Build<'c>, name: &str, threads: u32) -> Self {
        let addresses = [Param::Address; MatmulArgs::ADDRESSES];
        let values = build.kernel(name, &[&addresses[..], &[Param::I32; MatmulArgs::NUMBERS]].concat(), threads);
        let address = |i: usize| BasicValueEnum::into_pointer_value(values[i]);
        let number = |i: usize| values[MatmulArgs::ADDRESSES + i].into_int_value();
        Args {
            activations: address(0),
            corrections: address(1),
            centers: address(2),
            scales: address(3),
            weights: address(4),
            w_scales: address(5),
            w_zeros: address(6),
            w_sums: address(7),
            bias: address(8),
            out: address(9),
            m: number(0),
            n: number(1),
            chunks: number(2),
            blocks: number(3),
        }
    }
}
