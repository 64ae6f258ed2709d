//! A thin layer over the LLVM builder: vectors of i32 lanes, loads at byte offsets, counted loops.

use crate::error::CodegenError;
use inkwell::basic_block::BasicBlock;
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::types::{BasicType, BasicTypeEnum, IntType, VectorType};
use inkwell::values::{BasicMetadataValueEnum, BasicValue, BasicValueEnum, FunctionValue, IntValue, PointerValue, VectorValue};
use inkwell::{AddressSpace, IntPredicate};
use mokume_runtime::cpu::isa::IsaLevel;

pub(super) type Result<T> = std::result::Result<T, CodegenError>;

/// Where code of one module is built.
pub(super) struct Build<'c> {
    pub(super) context: &'c Context,
    pub(super) module: Module<'c>,
    pub(super) at: Builder<'c>,
    pub(super) level: IsaLevel,
}

impl<'c> Build<'c> {
    pub(super) fn new(context: &'c Context, module: Module<'c>, level: IsaLevel) -> Self {
        Build { context, module, at: context.create_builder(), level }
    }
    /// i32 lanes of a register.
    pub(super) fn lanes(&self) -> u32 {
        match self.level {
            IsaLevel::Neon | IsaLevel::X86_64 => 4,
            IsaLevel::Avx2 => 8,
            IsaLevel::Avx512 => 16,
        }
    }
    pub(super) fn i64(&self, value: u64) -> IntValue<'c> {
        self.context.i64_type().const_int(value, false)
    }
    pub(super) fn ints(&self) -> VectorType<'c> {
        self.context.i32_type().vec_type(self.lanes())
    }
    pub(super) fn bytes(&self) -> VectorType<'c> {
        self.context.i8_type().vec_type(self.lanes() * 4)
    }
    pub(super) fn shorts(&self) -> VectorType<'c> {
        self.context.i16_type().vec_type(self.lanes() * 2)
    }
    pub(super) fn floats(&self) -> VectorType<'c> {
        self.context.f32_type().vec_type(self.lanes())
    }
    /// f32 lanes to which every sum is exact: -0, as 0 would turn a first term of -0 into 0.
    pub(super) fn no_sum(&self) -> VectorValue<'c> {
        VectorType::const_vector(&vec![self.context.f32_type().const_float(-0.0); self.lanes() as usize])
    }
    /// A vector with every lane `value`.
    pub(super) fn splat_int(&self, value: u32) -> VectorValue<'c> {
        splat(self.context.i32_type(), value as u64, self.lanes())
    }
    /// A vector of i16 with every lane `value`.
    pub(super) fn splat_short(&self, value: u16) -> VectorValue<'c> {
        splat(self.context.i16_type(), value as u64, self.lanes() * 2)
    }
    /// `pointer + bytes`.
    pub(super) fn offset(&self, pointer: PointerValue<'c>, bytes: IntValue<'c>) -> Result<PointerValue<'c>> {
        // SAFETY: addresses stay inside the operands, which the caller of the kernel vouches for.
        Ok(unsafe { self.at.build_in_bounds_gep(self.context.i8_type(), pointer, &[bytes], "")? })
    }
    /// `pointer + bytes`, known.
    pub(super) fn offset_by(&self, pointer: PointerValue<'c>, bytes: usize) -> Result<PointerValue<'c>> {
        self.offset(pointer, self.i64(bytes as u64))
    }
    /// `pointer + bytes`, which may lie outside of the operands.
    pub(super) fn address(&self, pointer: PointerValue<'c>, bytes: usize) -> Result<PointerValue<'c>> {
        self.address_at(pointer, self.i64(bytes as u64))
    }
    /// `pointer + bytes`, which may lie outside of the operands.
    pub(super) fn address_at(&self, pointer: PointerValue<'c>, bytes: IntValue<'c>) -> Result<PointerValue<'c>> {
        // SAFETY: the address is computed without a promise that it is inside of anything.
        Ok(unsafe { self.at.build_gep(self.context.i8_type(), pointer, &[bytes], "")? })
    }
    /// `pointer + index * stride`.
    pub(super) fn index(&self, pointer: PointerValue<'c>, index: IntValue<'c>, stride: IntValue<'c>) -> Result<PointerValue<'c>> {
        self.offset(pointer, self.at.build_int_nuw_mul(index, stride, "")?)
    }
    /// A load of unaligned memory.
    pub(super) fn load<T: BasicType<'c>>(&self, ty: T, pointer: PointerValue<'c>) -> Result<BasicValueEnum<'c>> {
        let value = self.at.build_load(ty, pointer, "")?;
        self.unalign(value.as_instruction_value())?;
        Ok(value)
    }
    /// A store to unaligned memory.
    pub(super) fn store(&self, pointer: PointerValue<'c>, value: impl BasicValue<'c>) -> Result<()> {
        let store = self.at.build_store(pointer, value)?;
        self.unalign(Some(store))
    }
    fn unalign(&self, instruction: Option<inkwell::values::InstructionValue<'c>>) -> Result<()> {
        let set = instruction.map_or(Ok(()), |instruction| instruction.set_alignment(2));
        set.map_err(|error| CodegenError::Llvm(error.to_string()))
    }
    /// The i32 lanes at `pointer`.
    pub(super) fn load_ints(&self, pointer: PointerValue<'c>) -> Result<VectorValue<'c>> {
        Ok(self.load(self.ints(), pointer)?.into_vector_value())
    }
    /// The f32 lanes of the f16 numbers without a sign at `pointer`.
    pub(super) fn load_halves(&self, pointer: PointerValue<'c>) -> Result<VectorValue<'c>> {
        if self.level != IsaLevel::X86_64 {
            let halves = self.load(self.context.f16_type().vec_type(self.lanes()), pointer)?.into_vector_value();
            return Ok(self.at.build_float_ext(halves, self.floats(), "")?);
        }
        // Exponent and mantissa in their places in f32 give the number over 2^112.
        let codes = self.load(self.context.i16_type().vec_type(self.lanes()), pointer)?.into_vector_value();
        let codes = self.at.build_int_z_extend(codes, self.ints(), "")?;
        let moved = self.cast(self.at.build_left_shift(codes, self.splat_int(13), "")?, self.floats())?;
        let factor = self.context.f32_type().const_float(f64::from(2.0f32.powi(112)));
        let factor = VectorType::const_vector(&vec![factor; self.lanes() as usize]);
        Ok(self.at.build_float_mul(moved, factor, "")?)
    }
    /// Asks for the cache line at `pointer`, which need not be memory of ours, in the second cache: the first has room for few
    /// lines that are on their way.
    pub(super) fn prefetch(&self, pointer: PointerValue<'c>) -> Result<()> {
        let function = self.declaration("llvm.prefetch", &[self.pointer().into()])?;
        let [read, second_cache, data] = [0, 2, 1].map(|value| self.context.i32_type().const_int(value, false).into());
        self.at.build_call(function, &[pointer.into(), read, second_cache, data], "")?;
        Ok(())
    }
    /// Every lane the 32-bit word at `pointer`, as i32 or f32.
    pub(super) fn load_splat(&self, ty: VectorType<'c>, pointer: PointerValue<'c>) -> Result<VectorValue<'c>> {
        let lane: BasicTypeEnum<'c> = ty.get_element_type();
        let word = self.load(lane, pointer)?;
        let zero = self.context.i32_type().const_zero();
        let one = self.at.build_insert_element(ty.get_poison(), word, zero, "")?;
        Ok(self.at.build_shuffle_vector(one, ty.get_poison(), self.ints().const_zero(), "")?)
    }
    /// The bits of `value` as another vector type.
    pub(super) fn cast(&self, value: VectorValue<'c>, ty: VectorType<'c>) -> Result<VectorValue<'c>> {
        Ok(self.at.build_bit_cast(value, ty, "")?.into_vector_value())
    }
    /// An intrinsic with the overloads `types`.
    pub(super) fn overloaded(&self, name: &str, types: &[VectorType<'c>], operands: &[VectorValue<'c>]) -> Result<VectorValue<'c>> {
        let types: Vec<BasicTypeEnum<'c>> = types.iter().map(|&ty| ty.into()).collect();
        let operands: Vec<_> = operands.iter().map(|&operand| operand.into()).collect();
        self.call(self.declaration(name, &types)?, &operands)
    }
    /// An intrinsic without overloads, its operands cast to what it takes.
    pub(super) fn intrinsic(&self, name: &str, operands: &[VectorValue<'c>]) -> Result<VectorValue<'c>> {
        let function = self.declaration(name, &[])?;
        let types = function.get_type().get_param_types();
        let cast = operands.iter().zip(types).map(|(&operand, ty)| Ok(self.cast(operand, ty.into_vector_type())?.into()));
        self.call(function, &cast.collect::<Result<Vec<_>>>()?)
    }
    /// `llvm.ctpop` of every lane.
    pub(super) fn popcount(&self, value: VectorValue<'c>) -> Result<VectorValue<'c>> {
        let function = self.declaration("llvm.ctpop", &[value.get_type().into()])?;
        self.call(function, &[value.into()])
    }
    fn call(&self, function: FunctionValue<'c>, operands: &[BasicMetadataValueEnum<'c>]) -> Result<VectorValue<'c>> {
        Ok(self.at.build_call(function, operands, "")?.try_as_basic_value().unwrap_basic().into_vector_value())
    }
    fn declaration(&self, name: &str, types: &[BasicTypeEnum<'c>]) -> Result<FunctionValue<'c>> {
        let found = Intrinsic::find(name).and_then(|intrinsic| intrinsic.get_declaration(&self.module, types));
        found.ok_or_else(|| CodegenError::Missing(name.to_string()))
    }
    /// `while i + step <= end { carried = body(i, carried); i += step }`; gives the last `i` and `carried`.
    pub(super) fn repeat(
        &self,
        begin: IntValue<'c>,
        end: IntValue<'c>,
        step: u64,
        carried: &[BasicValueEnum<'c>],
        body: impl FnOnce(IntValue<'c>, &[BasicValueEnum<'c>]) -> Result<Vec<BasicValueEnum<'c>>>,
    ) -> Result<(IntValue<'c>, Vec<BasicValueEnum<'c>>)> {
        let before = self.block()?;
        let [head, inside, after] = self.blocks(before)?;
        self.at.build_unconditional_branch(head)?;
        self.at.position_at_end(head);
        let index = self.at.build_phi(begin.get_type(), "")?;
        let phis = carried.iter().map(|value| Ok(self.at.build_phi(value.get_type(), "")?)).collect::<Result<Vec<_>>>()?;
        let i = index.as_basic_value().into_int_value();
        let next = self.at.build_int_nuw_add(i, self.i64(step), "")?;
        let more = self.at.build_int_compare(IntPredicate::ULE, next, end, "")?;
        self.at.build_conditional_branch(more, inside, after)?;
        self.at.position_at_end(inside);
        let values: Vec<_> = phis.iter().map(|phi| phi.as_basic_value()).collect();
        let results = body(i, &values)?;
        let last = self.block()?;
        self.at.build_unconditional_branch(head)?;
        index.add_incoming(&[(&begin, before), (&next, last)]);
        for ((phi, first), result) in phis.iter().zip(carried).zip(&results) {
            phi.add_incoming(&[(first, before), (result, last)]);
        }
        self.at.position_at_end(after);
        Ok((i, values))
    }
    fn block(&self) -> Result<BasicBlock<'c>> {
        self.at.get_insert_block().ok_or(CodegenError::Build(inkwell::builder::BuilderError::UnsetPosition))
    }
    fn blocks(&self, before: BasicBlock<'c>) -> Result<[BasicBlock<'c>; 3]> {
        let function = before.get_parent().ok_or(CodegenError::Build(inkwell::builder::BuilderError::UnsetPosition))?;
        Ok(["head", "body", "after"].map(|name| self.context.append_basic_block(function, name)))
    }
    /// The type of addresses.
    pub(super) fn pointer(&self) -> inkwell::types::PointerType<'c> {
        self.context.ptr_type(AddressSpace::default())
    }
}

fn splat(ty: IntType<'_>, value: u64, lanes: u32) -> VectorValue<'_> {
    VectorType::const_vector(&vec![ty.const_int(value, false); lanes as usize])
}
