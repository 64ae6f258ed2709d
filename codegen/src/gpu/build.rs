//! A thin layer over the LLVM builder for device code: arithmetic, memory, control, and the intrinsics of the machine.

use crate::error::CodegenError;
use inkwell::attributes::AttributeLoc;
use inkwell::basic_block::BasicBlock;
use inkwell::builder::{Builder, BuilderError};
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::types::{BasicMetadataTypeEnum, BasicType, BasicTypeEnum, FloatType, IntType, PointerType};
use inkwell::values::{
    BasicMetadataValueEnum, BasicValue, BasicValueEnum, FloatValue, FunctionValue, GlobalValue, InstructionValue, IntValue, PointerValue,
};
use inkwell::{AddressSpace, FloatPredicate, IntPredicate};
use mokume_runtime::gpu::spec::WARP;

pub(crate) type Result<T> = std::result::Result<T, CodegenError>;

/// Calling convention of kernels.
const KERNEL: u32 = 71;
/// Bytes to which dynamic shared memory is aligned.
const SHARED_ALIGNMENT: u32 = 128;
/// Every lane of a warp.
const ALL_LANES: u64 = 0xffff_ffff;

/// A parameter of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// An address in global memory.
    Address,
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// A 32-bit float.
    F32,
}

/// An axis of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the axes")]
pub enum Axis {
    X,
    Y,
    Z,
}

impl Axis {
    fn name(self) -> &'static str {
        match self {
            Axis::X => "x",
            Axis::Y => "y",
            Axis::Z => "z",
        }
    }
}

/// Where device code of one module is built.
pub struct Build<'c> {
    pub(crate) context: &'c Context,
    pub(crate) module: Module<'c>,
    pub(crate) at: Builder<'c>,
}

impl<'c> Build<'c> {
    /// An empty module.
    pub fn new(context: &'c Context, name: &str) -> Self {
        Build { context, module: context.create_module(name), at: context.create_builder() }
    }
    /// The module.
    pub fn finish(self) -> Module<'c> {
        self.module
    }
    /// Begins a kernel for blocks of at most `threads`; its parameters.
    pub(crate) fn kernel(&self, name: &str, params: &[Param], threads: u32) -> Vec<BasicValueEnum<'c>> {
        let types: Vec<BasicMetadataTypeEnum<'c>> = params.iter().map(|&param| self.param(param).into()).collect();
        let function = self.module.add_function(name, self.context.void_type().fn_type(&types, false), None);
        function.set_call_conventions(KERNEL);
        for (key, value) in [("nvvm.maxntid", threads.to_string()), ("nounwind", String::new())] {
            let attribute = match inkwell::attributes::Attribute::get_named_enum_kind_id(key) {
                0 => self.context.create_string_attribute(key, &value),
                kind => self.context.create_enum_attribute(kind, 0),
            };
            function.add_attribute(AttributeLoc::Function, attribute);
        }
        self.at.position_at_end(self.context.append_basic_block(function, "entry"));
        function.get_param_iter().collect()
    }
    fn param(&self, param: Param) -> BasicTypeEnum<'c> {
        match param {
            Param::Address => self.global_pointer().into(),
            Param::I32 => self.int().into(),
            Param::I64 => self.long().into(),
            Param::F32 => self.float().into(),
        }
    }
    /// Ends a kernel.
    pub(crate) fn end(&self) -> Result<()> {
        self.at.build_return(None)?;
        Ok(())
    }
}

/// Types and constants.
impl<'c> Build<'c> {
    pub(crate) fn int(&self) -> IntType<'c> {
        self.context.i32_type()
    }
    pub(crate) fn long(&self) -> IntType<'c> {
        self.context.i64_type()
    }
    pub(crate) fn float(&self) -> FloatType<'c> {
        self.context.f32_type()
    }
    pub(crate) fn global_pointer(&self) -> PointerType<'c> {
        self.context.ptr_type(AddressSpace::from(1u16))
    }
    /// The type of addresses in shared memory.
    pub fn shared_pointer(&self) -> PointerType<'c> {
        self.context.ptr_type(AddressSpace::from(3u16))
    }
    pub(crate) fn i32(&self, value: i32) -> IntValue<'c> {
        self.int().const_int(value as u32 as u64, false)
    }
    pub(crate) fn i64(&self, value: i64) -> IntValue<'c> {
        self.long().const_int(value as u64, true)
    }
    pub(crate) fn f32(&self, value: f32) -> FloatValue<'c> {
        self.float().const_float(value.into())
    }
}

/// Arithmetic. Of integers both operands have one width; floats are never contracted.
impl<'c> Build<'c> {
    pub(crate) fn add(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_int_add(a, b, "")?)
    }
    pub(crate) fn sub(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_int_sub(a, b, "")?)
    }
    pub(crate) fn mul(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_int_mul(a, b, "")?)
    }
    /// `a * by`, known.
    pub(crate) fn times(&self, a: IntValue<'c>, by: usize) -> Result<IntValue<'c>> {
        self.mul(a, a.get_type().const_int(by as u64, false))
    }
    /// `a + by`, known.
    pub(crate) fn plus(&self, a: IntValue<'c>, by: usize) -> Result<IntValue<'c>> {
        self.add(a, a.get_type().const_int(by as u64, false))
    }
    /// Unsigned `a / by`, known.
    pub(crate) fn over(&self, a: IntValue<'c>, by: usize) -> Result<IntValue<'c>> {
        self.udiv(a, a.get_type().const_int(by as u64, false))
    }
    /// Unsigned `a % by`, known.
    pub(crate) fn modulo(&self, a: IntValue<'c>, by: usize) -> Result<IntValue<'c>> {
        self.urem(a, a.get_type().const_int(by as u64, false))
    }
    pub(crate) fn udiv(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_int_unsigned_div(a, b, "")?)
    }
    pub(crate) fn urem(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_int_unsigned_rem(a, b, "")?)
    }
    pub(crate) fn and(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_and(a, b, "")?)
    }
    pub(crate) fn or(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_or(a, b, "")?)
    }
    pub(crate) fn xor(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_xor(a, b, "")?)
    }
    /// `a << by`.
    pub(crate) fn shl(&self, a: IntValue<'c>, by: u32) -> Result<IntValue<'c>> {
        Ok(self.at.build_left_shift(a, a.get_type().const_int(by.into(), false), "")?)
    }
    /// Unsigned `a >> by`.
    pub(crate) fn shr(&self, a: IntValue<'c>, by: u32) -> Result<IntValue<'c>> {
        Ok(self.at.build_right_shift(a, a.get_type().const_int(by.into(), false), false, "")?)
    }
    /// To 64 bits, unsigned.
    pub(crate) fn widen(&self, a: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_int_z_extend(a, self.long(), "")?)
    }
    /// To 32 bits.
    pub fn narrow(&self, a: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_int_truncate(a, self.int(), "")?)
    }
    pub(crate) fn is(&self, a: IntValue<'c>, how: IntPredicate, b: IntValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_int_compare(how, a, b, "")?)
    }
    /// Unsigned `a < b`.
    pub(crate) fn below(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>> {
        self.is(a, IntPredicate::ULT, b)
    }
    /// Unsigned minimum.
    pub(crate) fn least(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>> {
        self.select(self.below(a, b)?, a, b)
    }
    pub(crate) fn select<T: BasicValue<'c> + TryFrom<BasicValueEnum<'c>>>(&self, condition: IntValue<'c>, yes: T, no: T) -> Result<T> {
        let value = self.at.build_select(condition, yes, no, "")?;
        T::try_from(value).map_err(|_| CodegenError::Llvm("a select changed its type".into()))
    }
    pub(crate) fn fadd(&self, a: FloatValue<'c>, b: FloatValue<'c>) -> Result<FloatValue<'c>> {
        Ok(self.at.build_float_add(a, b, "")?)
    }
    pub(crate) fn fsub(&self, a: FloatValue<'c>, b: FloatValue<'c>) -> Result<FloatValue<'c>> {
        Ok(self.at.build_float_sub(a, b, "")?)
    }
    pub(crate) fn fmul(&self, a: FloatValue<'c>, b: FloatValue<'c>) -> Result<FloatValue<'c>> {
        Ok(self.at.build_float_mul(a, b, "")?)
    }
    pub(crate) fn fdiv(&self, a: FloatValue<'c>, b: FloatValue<'c>) -> Result<FloatValue<'c>> {
        Ok(self.at.build_float_div(a, b, "")?)
    }
    pub(crate) fn fis(&self, a: FloatValue<'c>, how: FloatPredicate, b: FloatValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_float_compare(how, a, b, "")?)
    }
    /// A signed integer as f32.
    pub(crate) fn to_float(&self, a: IntValue<'c>) -> Result<FloatValue<'c>> {
        Ok(self.at.build_signed_int_to_float(a, self.float(), "")?)
    }
    /// The bits of an f32.
    pub(crate) fn bits(&self, a: FloatValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.at.build_bit_cast(a, self.int(), "")?.into_int_value())
    }
    /// The f32 of these bits.
    pub(crate) fn float_of(&self, a: IntValue<'c>) -> Result<FloatValue<'c>> {
        Ok(self.at.build_bit_cast(a, self.float(), "")?.into_float_value())
    }
}

/// Memory.
impl<'c> Build<'c> {
    /// `pointer + bytes`.
    pub(crate) fn offset(&self, pointer: PointerValue<'c>, bytes: IntValue<'c>) -> Result<PointerValue<'c>> {
        // SAFETY: addresses stay inside the operands, which the caller of the kernel vouches for.
        Ok(unsafe { self.at.build_in_bounds_gep(self.context.i8_type(), pointer, &[bytes], "")? })
    }
    /// `pointer + bytes`, known.
    pub(crate) fn offset_by(&self, pointer: PointerValue<'c>, bytes: usize) -> Result<PointerValue<'c>> {
        self.offset(pointer, self.i64(bytes as i64))
    }
    /// `pointer + 4 * index`, index unsigned.
    pub(crate) fn word_at(&self, pointer: PointerValue<'c>, index: IntValue<'c>) -> Result<PointerValue<'c>> {
        let index = if index.get_type().get_bit_width() == 64 { index } else { self.widen(index)? };
        self.offset(pointer, self.times(index, 4)?)
    }
    /// A load from memory aligned to the size of the value.
    pub(crate) fn load<T: BasicType<'c>>(&self, ty: T, pointer: PointerValue<'c>) -> Result<BasicValueEnum<'c>> {
        Ok(self.at.build_load(ty, pointer, "")?)
    }
    pub(crate) fn load_int(&self, pointer: PointerValue<'c>) -> Result<IntValue<'c>> {
        Ok(self.load(self.int(), pointer)?.into_int_value())
    }
    pub(crate) fn load_float(&self, pointer: PointerValue<'c>) -> Result<FloatValue<'c>> {
        Ok(self.load(self.float(), pointer)?.into_float_value())
    }
    /// Four words at once, aligned to 16 bytes.
    pub(crate) fn load_four(&self, pointer: PointerValue<'c>) -> Result<[IntValue<'c>; 4]> {
        let vector = self.load(self.int().vec_type(4), pointer)?.into_vector_value();
        aligned(vector.as_instruction_value(), 16)?;
        let lane = |i: i32| -> Result<IntValue<'c>> { Ok(self.at.build_extract_element(vector, self.i32(i), "")?.into_int_value()) };
        Ok([lane(0)?, lane(1)?, lane(2)?, lane(3)?])
    }
    pub(crate) fn store(&self, pointer: PointerValue<'c>, value: impl BasicValue<'c>) -> Result<()> {
        self.at.build_store(pointer, value)?;
        Ok(())
    }
    /// Dynamic shared memory.
    pub(crate) fn shared(&self) -> PointerValue<'c> {
        let name = "shared";
        let global = self.module.get_global(name).unwrap_or_else(|| {
            let global = self.module.add_global(self.context.i8_type().array_type(0), Some(AddressSpace::from(3u16)), name);
            global.set_alignment(SHARED_ALIGNMENT);
            global
        });
        global.as_pointer_value()
    }
    /// Shared memory of a kernel's own, of unspecified contents.
    pub fn own_shared(&self, name: &str, words: u32) -> PointerValue<'c> {
        let ty = self.int().array_type(words);
        let global: GlobalValue<'c> = self.module.add_global(ty, Some(AddressSpace::from(3u16)), name);
        global.set_initializer(&ty.get_undef());
        global.set_linkage(inkwell::module::Linkage::Internal);
        global.set_alignment(16);
        global.as_pointer_value()
    }
}

fn aligned(instruction: Option<InstructionValue<'_>>, bytes: u32) -> Result<()> {
    let set = instruction.map_or(Ok(()), |instruction| instruction.set_alignment(bytes));
    set.map_err(|error| CodegenError::Llvm(error.to_string()))
}

/// Control.
impl<'c> Build<'c> {
    /// `if condition { body }`.
    pub(crate) fn when(&self, condition: IntValue<'c>, body: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = self.block()?;
        let [then, after] = self.blocks(before, ["then", "after"])?;
        self.at.build_conditional_branch(condition, then, after)?;
        self.at.position_at_end(then);
        body()?;
        self.at.build_unconditional_branch(after)?;
        self.at.position_at_end(after);
        Ok(())
    }
    /// `if condition { yes(values) } else { values }`.
    pub(crate) fn change(
        &self,
        condition: IntValue<'c>,
        values: &[BasicValueEnum<'c>],
        yes: impl FnOnce(&[BasicValueEnum<'c>]) -> Result<Vec<BasicValueEnum<'c>>>,
    ) -> Result<Vec<BasicValueEnum<'c>>> {
        let before = self.block()?;
        let [then, after] = self.blocks(before, ["then", "after"])?;
        self.at.build_conditional_branch(condition, then, after)?;
        self.at.position_at_end(then);
        let changed = yes(values)?;
        let last = self.block()?;
        self.at.build_unconditional_branch(after)?;
        self.at.position_at_end(after);
        values.iter().zip(&changed).map(|(old, new)| self.join(old.get_type(), &[(old, before), (new, last)])).collect()
    }
    fn join(&self, ty: BasicTypeEnum<'c>, from: &[(&BasicValueEnum<'c>, BasicBlock<'c>)]) -> Result<BasicValueEnum<'c>> {
        let phi = self.at.build_phi(ty, "")?;
        from.iter().for_each(|&(value, block)| phi.add_incoming(&[(value, block)]));
        Ok(phi.as_basic_value())
    }
    /// `while i < end { carried = body(i, carried); i += step }`, unsigned; gives `carried` at the end.
    pub(crate) fn repeat(
        &self,
        begin: IntValue<'c>,
        end: IntValue<'c>,
        step: IntValue<'c>,
        carried: &[BasicValueEnum<'c>],
        body: impl FnOnce(IntValue<'c>, &[BasicValueEnum<'c>]) -> Result<Vec<BasicValueEnum<'c>>>,
    ) -> Result<Vec<BasicValueEnum<'c>>> {
        let before = self.block()?;
        let [head, inside, after] = self.blocks(before, ["head", "body", "after"])?;
        self.at.build_unconditional_branch(head)?;
        self.at.position_at_end(head);
        let index = self.at.build_phi(begin.get_type(), "")?;
        let phis = carried.iter().map(|value| Ok(self.at.build_phi(value.get_type(), "")?)).collect::<Result<Vec<_>>>()?;
        let i = index.as_basic_value().into_int_value();
        self.at.build_conditional_branch(self.below(i, end)?, inside, after)?;
        self.at.position_at_end(inside);
        let values: Vec<_> = phis.iter().map(|phi| phi.as_basic_value()).collect();
        let results = body(i, &values)?;
        let next = self.add(i, step)?;
        let last = self.block()?;
        self.at.build_unconditional_branch(head)?;
        index.add_incoming(&[(&begin, before), (&next, last)]);
        for ((phi, first), result) in phis.iter().zip(carried).zip(&results) {
            phi.add_incoming(&[(first, before), (result, last)]);
        }
        self.at.position_at_end(after);
        Ok(values)
    }
    fn block(&self) -> Result<BasicBlock<'c>> {
        self.at.get_insert_block().ok_or(CodegenError::Build(BuilderError::UnsetPosition))
    }
    fn blocks<const N: usize>(&self, before: BasicBlock<'c>, names: [&str; N]) -> Result<[BasicBlock<'c>; N]> {
        let function = before.get_parent().ok_or(CodegenError::Build(BuilderError::UnsetPosition))?;
        Ok(names.map(|name| self.context.append_basic_block(function, name)))
    }
}

/// The machine.
impl<'c> Build<'c> {
    /// Calls an intrinsic.
    pub(crate) fn intrinsic(&self, name: &str, operands: &[BasicMetadataValueEnum<'c>]) -> Result<Option<BasicValueEnum<'c>>> {
        self.intrinsic_of(name, &[], operands)
    }
    /// Calls an intrinsic that is overloaded for `types`.
    pub(crate) fn intrinsic_of(
        &self,
        name: &str,
        types: &[BasicTypeEnum<'c>],
        operands: &[BasicMetadataValueEnum<'c>],
    ) -> Result<Option<BasicValueEnum<'c>>> {
        let found = Intrinsic::find(name).and_then(|intrinsic| intrinsic.get_declaration(&self.module, types));
        self.call(found.ok_or_else(|| CodegenError::Missing(name.to_string()))?, operands)
    }
    fn call(&self, function: FunctionValue<'c>, operands: &[BasicMetadataValueEnum<'c>]) -> Result<Option<BasicValueEnum<'c>>> {
        Ok(self.at.build_call(function, operands, "")?.try_as_basic_value().basic())
    }
    /// Calls `mokume.gpu.NAME`, which gives `results` i32.
    pub fn symbol(&self, name: &str, operands: &[BasicValueEnum<'c>], results: usize) -> Result<Vec<IntValue<'c>>> {
        let name = format!("mokume.gpu.{name}");
        let types: Vec<BasicMetadataTypeEnum<'c>> = operands.iter().map(|operand| operand.get_type().into()).collect();
        let ty = match results {
            0 => self.context.void_type().fn_type(&types, false),
            _ => self.context.struct_type(&vec![self.int().into(); results], false).fn_type(&types, false),
        };
        let function = self.module.get_function(&name).unwrap_or_else(|| self.module.add_function(&name, ty, None));
        let operands: Vec<BasicMetadataValueEnum<'c>> = operands.iter().map(|&operand| operand.into()).collect();
        match self.call(function, &operands)? {
            Some(value) => self.fields(value, results),
            None => Ok(vec![]),
        }
    }
    fn fields(&self, value: BasicValueEnum<'c>, count: usize) -> Result<Vec<IntValue<'c>>> {
        let fields = value.into_struct_value();
        (0..count as u32).map(|i| Ok(self.at.build_extract_value(fields, i, "")?.into_int_value())).collect()
    }
    fn register(&self, name: &str) -> Result<IntValue<'c>> {
        let value = self.intrinsic(&format!("llvm.nvvm.read.ptx.sreg.{name}"), &[])?;
        Ok(value.ok_or_else(|| CodegenError::Missing(name.into()))?.into_int_value())
    }
    /// Number of the thread in its block.
    pub(crate) fn thread(&self) -> Result<IntValue<'c>> {
        self.register("tid.x")
    }
    /// Number of the block of threads.
    pub(crate) fn group(&self, axis: Axis) -> Result<IntValue<'c>> {
        self.register(&format!("ctaid.{}", axis.name()))
    }
    /// Blocks of threads of the grid.
    pub(crate) fn groups(&self, axis: Axis) -> Result<IntValue<'c>> {
        self.register(&format!("nctaid.{}", axis.name()))
    }
    /// Number of the thread in its warp.
    pub(crate) fn lane(&self) -> Result<IntValue<'c>> {
        self.modulo(self.thread()?, WARP as usize)
    }
    /// Waits for all threads of the block.
    pub(crate) fn barrier(&self) -> Result<()> {
        self.intrinsic("llvm.nvvm.barrier.cta.sync.aligned.all", &[self.i32(0).into()]).map(drop)
    }
    /// Waits for all threads of the warp.
    pub(crate) fn warp_barrier(&self) -> Result<()> {
        self.intrinsic("llvm.nvvm.bar.warp.sync", &[self.all_lanes().into()]).map(drop)
    }
    fn all_lanes(&self) -> IntValue<'c> {
        self.int().const_int(ALL_LANES, false)
    }
    /// The value that lane `lane ^ mask` has.
    pub(crate) fn shuffle(&self, value: IntValue<'c>, mask: i32) -> Result<IntValue<'c>> {
        let operands = [self.all_lanes(), value, self.i32(mask), self.i32(31)].map(Into::into);
        let value = self.intrinsic("llvm.nvvm.shfl.sync.bfly.i32", &operands)?;
        Ok(value.ok_or_else(|| CodegenError::Missing("a shuffle".into()))?.into_int_value())
    }
    /// The f32 that lane `lane ^ mask` has.
    pub fn shuffle_float(&self, value: FloatValue<'c>, mask: i32) -> Result<FloatValue<'c>> {
        self.float_of(self.shuffle(self.bits(value)?, mask)?)
    }
    /// Bit `l` is what lane `l` says.
    pub fn ballot(&self, said: IntValue<'c>) -> Result<IntValue<'c>> {
        let value = self.intrinsic("llvm.nvvm.vote.ballot.sync", &[self.all_lanes().into(), said.into()])?;
        Ok(value.ok_or_else(|| CodegenError::Missing("a vote".into()))?.into_int_value())
    }
    /// Starts copying 16 bytes from global to shared memory.
    pub(crate) fn copy16(&self, to: PointerValue<'c>, from: PointerValue<'c>) -> Result<()> {
        self.intrinsic("llvm.nvvm.cp.async.cg.shared.global.16", &[to.into(), from.into()]).map(drop)
    }
    /// Makes a group of the copies started since the last.
    pub(crate) fn commit_copies(&self) -> Result<()> {
        self.intrinsic("llvm.nvvm.cp.async.commit.group", &[]).map(drop)
    }
    /// Waits until at most `left` groups of copies are under way.
    pub(crate) fn wait_copies(&self, left: u32) -> Result<()> {
        self.intrinsic("llvm.nvvm.cp.async.wait.group", &[self.i32(left as i32).into()]).map(drop)
    }
    /// Makes what was copied to shared memory visible to products of groups of warps.
    pub(crate) fn show_copies(&self) -> Result<()> {
        self.intrinsic("llvm.nvvm.fence.proxy.async.shared_cta", &[]).map(drop)
    }
    /// Products of groups of warps that `products` begins, from the fence of their registers to their end.
    pub(crate) fn group_products<T>(&self, products: impl FnOnce() -> Result<T>) -> Result<T> {
        self.intrinsic("llvm.nvvm.wgmma.fence.sync.aligned", &[])?;
        let results = products()?;
        self.intrinsic("llvm.nvvm.wgmma.commit_group.sync.aligned", &[])?;
        self.intrinsic("llvm.nvvm.wgmma.wait_group.sync.aligned", &[self.i64(0).into()])?;
        Ok(results)
    }
    /// A matrix product of a warp: `a * b + c` by fragments.
    pub(crate) fn mma(&self, name: &str, a: &[IntValue<'c>], b: &[IntValue<'c>], c: &[IntValue<'c>]) -> Result<Vec<IntValue<'c>>> {
        let operands: Vec<BasicMetadataValueEnum<'c>> = [a, b, c].concat().into_iter().map(Into::into).collect();
        let value = self.intrinsic(&format!("llvm.nvvm.mma.{name}"), &operands)?;
        self.fields(value.ok_or_else(|| CodegenError::Missing(name.into()))?, c.len())
    }
}
