//! Turns a device module into one that runs on the host: every access asks for its host address, every operation of the device
//! is a call back, and shared arrays have addresses of shared memory.

use super::access::{Access, Kind, Space};
use super::op::Op;
use crate::error::CodegenError;
use inkwell::AddressSpace;
use inkwell::builder::Builder;
use inkwell::module::{Linkage, Module};
use inkwell::targets::TargetData;
use inkwell::types::{AnyType, AnyTypeEnum, BasicMetadataTypeEnum, BasicType, BasicTypeEnum, FunctionType};
use inkwell::values::{
    AnyValue, AnyValueEnum, BasicMetadataValueEnum, BasicValue, BasicValueEnum, CallSiteValue, FunctionValue, InstructionOpcode,
    InstructionValue, PointerValue,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

type Result<T> = std::result::Result<T, CodegenError>;

/// Names of the functions that compiled code calls back.
pub(super) const ACCESS: &str = "mokume.emulate.access";
pub(super) const CALL: &str = "mokume.emulate.call";
/// Before the name of a kernel: the function that takes the address of its parameters.
pub(super) const ENTRY: &str = "mokume.emulate.entry.";

/// Instruction number `ordinal` of a function.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) function: String,
    pub(super) ordinal: usize,
}

/// What was rewritten.
pub(super) struct Rewritten {
    pub(super) ops: Vec<Op>,
    pub(super) sites: Vec<Site>,
    /// Functions in which threads wait for each other.
    pub(super) collective: BTreeSet<String>,
}

/// Rewrites all functions of `module`, whose data layout is that of the host already.
pub(super) fn rewrite(module: &Module<'_>, layout: &TargetData) -> Result<Rewritten> {
    let functions: Vec<_> = module.get_functions().filter(|function| function.count_basic_blocks() > 0).collect();
    let kernels: Vec<_> = functions.iter().copied().filter(is_kernel).collect();
    let mut rewriter = Rewriter::new(module, layout);
    functions.iter().try_for_each(|&function| rewriter.function(function))?;
    kernels.iter().try_for_each(|&kernel| rewriter.entry(kernel))?;
    let collective = rewriter.collective();
    Ok(Rewritten { ops: rewriter.ops, sites: rewriter.sites, collective })
}

/// Whether a function is a kernel: what PTX calls an entry.
pub(super) fn is_kernel(function: &FunctionValue<'_>) -> bool {
    /// LLVM's number of the calling convention `ptx_kernel`.
    const PTX_KERNEL: u32 = 71;
    function.count_basic_blocks() > 0 && function.get_call_conventions() == PTX_KERNEL
}

/// The name of a function.
pub(super) fn name_of(function: &FunctionValue<'_>) -> String {
    function.get_name().to_string_lossy().into_owned()
}

struct Rewriter<'a, 'c> {
    module: &'a Module<'c>,
    layout: &'a TargetData,
    at: Builder<'c>,
    access: FunctionValue<'c>,
    call: FunctionValue<'c>,
    ops: Vec<Op>,
    sites: Vec<Site>,
    wrappers: BTreeMap<String, FunctionValue<'c>>,
    waits: BTreeSet<String>,
    calls: BTreeSet<(String, String)>,
}

impl<'a, 'c> Rewriter<'a, 'c> {
    fn new(module: &'a Module<'c>, layout: &'a TargetData) -> Self {
        let context = module.get_context();
        let (i32, i64, pointer) = (context.i32_type(), context.i64_type(), context.ptr_type(AddressSpace::default()));
        let access = pointer.fn_type(&[i64.into(), i64.into(), i32.into()], false);
        let call = context.void_type().fn_type(&[i32.into(), i32.into(), pointer.into(), pointer.into()], false);
        Rewriter {
            module,
            layout,
            at: context.create_builder(),
            access: module.add_function(ACCESS, access, Some(Linkage::External)),
            call: module.add_function(CALL, call, Some(Linkage::External)),
            ops: Vec::new(),
            sites: Vec::new(),
            wrappers: BTreeMap::new(),
            waits: BTreeSet::new(),
            calls: BTreeSet::new(),
        }
    }
    fn function(&mut self, function: FunctionValue<'c>) -> Result<()> {
        let name = name_of(&function);
        let blocks = function.get_basic_block_iter();
        let instructions: Vec<_> = blocks.flat_map(|block| block.get_instructions()).collect();
        let uses = uses_of_products(&instructions);
        for (ordinal, instruction) in instructions.into_iter().enumerate() {
            self.sites.push(Site { function: name.clone(), ordinal });
            if uses.contains(&ordinal) {
                self.report_use(instruction)?;
            }
            self.instruction(&name, instruction)?;
        }
        function.set_call_conventions(0);
        Ok(())
    }
    fn instruction(&mut self, function: &str, instruction: InstructionValue<'c>) -> Result<()> {
        match instruction.get_opcode() {
            InstructionOpcode::Load => self.guard(instruction, 0, instruction.get_type(), Kind::Read),
            InstructionOpcode::AtomicRMW => self.guard(instruction, 0, instruction.get_type(), Kind::Atomic),
            InstructionOpcode::Store => self.guard(instruction, 1, stored_type(instruction, 0)?, Kind::Write),
            InstructionOpcode::AtomicCmpXchg => self.guard(instruction, 0, stored_type(instruction, 1)?, Kind::Atomic),
            InstructionOpcode::Call => self.replace_call(function, instruction),
            _ => Ok(()),
        }
    }
    fn site(&self) -> u64 {
        self.sites.len() as u64 - 1
    }
    /// Has operand `index`, an address, looked up before the instruction.
    fn guard(&self, instruction: InstructionValue<'c>, index: u32, ty: AnyTypeEnum<'c>, kind: Kind) -> Result<()> {
        let pointer = pointer_operand(instruction, index)?;
        if is_local(pointer) {
            return Ok(());
        }
        let context = self.module.get_context();
        let bytes = self.layout.get_store_size(&ty) as u32;
        let align = instruction.get_alignment().map_or(bytes, |align| align).trailing_zeros() as u8;
        let space = Space::of(pointer.get_type().get_address_space());
        self.at.position_before(&instruction);
        let address = self.at.build_ptr_to_int(pointer, context.i64_type(), "")?;
        let what = context.i64_type().const_int(Access::encode(bytes, align, kind, space), false);
        let site = context.i32_type().const_int(self.site(), false);
        let host = self.at.build_call(self.access, &[address.into(), what.into(), site.into()], "")?;
        instruction.set_operand(index, host.try_as_basic_value().unwrap_basic());
        Ok(())
    }
    /// Calls back before an instruction that uses the result of an asynchronous product.
    fn report_use(&mut self, instruction: InstructionValue<'c>) -> Result<()> {
        let context = self.module.get_context();
        let wrapper = self.wrapper("", context.void_type().fn_type(&[], false), Op::GroupUse)?;
        self.at.position_before(&instruction);
        self.at.build_call(wrapper, &[context.i32_type().const_int(self.site(), false).into()], "")?;
        Ok(())
    }
    /// Replaces the call of a function that the device has and the host has not.
    fn replace_call(&mut self, function: &str, instruction: InstructionValue<'c>) -> Result<()> {
        let call = CallSiteValue::try_from(instruction).map_err(|()| unsupported("a call", "that is none"))?;
        let Some(callee) = call.get_called_fn_value() else {
            return Err(unsupported("inline assembly or a call of an address in", function));
        };
        let name = name_of(&callee);
        if callee.count_basic_blocks() > 0 {
            self.calls.insert((function.to_string(), name));
            return Ok(());
        }
        let Some(op) = Op::of(&name) else { return check_host_has(&name) };
        if op.is_collective() {
            self.waits.insert(function.to_string());
        }
        let wrapper = self.wrapper(&name, callee.get_type(), op)?;
        let context = self.module.get_context();
        let count = call.count_arguments();
        let mut args =
            (0..count).map(|index| Ok(value_operand(instruction, index)?.into())).collect::<Result<Vec<BasicMetadataValueEnum<'c>>>>()?;
        args.push(context.i32_type().const_int(self.site(), false).into());
        self.at.position_before(&instruction);
        let replacement = self.at.build_call(wrapper, &args, "")?;
        if let Some(result) = replacement.try_as_basic_value().basic().and_then(|value| value.as_instruction_value()) {
            instruction.replace_all_uses_with(&result);
        }
        instruction.erase_from_basic_block();
        Ok(())
    }
    /// A function like `name` with the site as another operand, which calls back.
    fn wrapper(&mut self, name: &str, ty: FunctionType<'c>, op: Op) -> Result<FunctionValue<'c>> {
        if let Some(&wrapper) = self.wrappers.get(name) {
            return Ok(wrapper);
        }
        self.ops.push(op);
        let wrapper = self.build_wrapper(ty, self.ops.len() as u64 - 1)?;
        self.wrappers.insert(name.to_string(), wrapper);
        Ok(wrapper)
    }
    fn build_wrapper(&self, ty: FunctionType<'c>, op: u64) -> Result<FunctionValue<'c>> {
        let context = self.module.get_context();
        let (i32, i64) = (context.i32_type(), context.i64_type());
        let mut params = ty.get_param_types();
        params.push(i32.into());
        let wrapper =
            self.module.add_function("mokume.emulate.op", function_type(ty.get_return_type(), &params, context), Some(Linkage::Internal));
        self.at.position_at_end(context.append_basic_block(wrapper, ""));
        let values: Vec<_> = wrapper.get_params();
        let (site, values) = values.split_last().ok_or_else(|| unsupported("a function", "without parameters"))?;
        let args = self.at.build_array_alloca(i64, i32.const_int(values.len().max(1) as u64, false), "")?;
        for (index, &value) in values.iter().enumerate() {
            let slot = self.slot(args, index)?;
            self.at.build_store(slot, i64.const_zero())?;
            self.at.build_store(slot, value)?;
        }
        let fields = result_types(ty.get_return_type());
        let out = self.at.build_array_alloca(i64, i32.const_int(fields.len().max(1) as u64, false), "")?;
        self.at.build_call(self.call, &[i32.const_int(op, false).into(), (*site).into(), args.into(), out.into()], "")?;
        self.give_back(ty.get_return_type(), &fields, out)?;
        Ok(wrapper)
    }
    fn give_back(&self, ty: Option<BasicTypeEnum<'c>>, fields: &[BasicTypeEnum<'c>], out: PointerValue<'c>) -> Result<()> {
        let field = |index: usize| -> Result<BasicValueEnum<'c>> { Ok(self.at.build_load(fields[index], self.slot(out, index)?, "")?) };
        match ty {
            None => self.at.build_return(None)?,
            Some(BasicTypeEnum::StructType(ty)) => {
                let mut value = ty.get_undef();
                for index in 0..fields.len() {
                    value = self.at.build_insert_value(value, field(index)?, index as u32, "")?.into_struct_value();
                }
                self.at.build_return(Some(&value))?
            }
            Some(_) => self.at.build_return(Some(&field(0)?))?,
        };
        Ok(())
    }
    fn slot(&self, words: PointerValue<'c>, index: usize) -> Result<PointerValue<'c>> {
        let context = self.module.get_context();
        let index = context.i32_type().const_int(index as u64, false);
        // SAFETY: the words were made as many as there are values.
        Ok(unsafe { self.at.build_gep(context.i64_type(), words, &[index], "")? })
    }
    /// The function that takes the address of a kernel's parameters, a word each.
    fn entry(&self, kernel: FunctionValue<'c>) -> Result<()> {
        let context = self.module.get_context();
        let pointer = context.ptr_type(AddressSpace::default());
        let name = format!("{ENTRY}{}", name_of(&kernel));
        let entry = self.module.add_function(&name, context.void_type().fn_type(&[pointer.into()], false), Some(Linkage::External));
        self.at.position_at_end(context.append_basic_block(entry, ""));
        let words = entry.get_first_param().ok_or_else(|| unsupported("a function", "without parameters"))?.into_pointer_value();
        let types = kernel.get_type().get_param_types();
        let load = |(index, ty): (usize, &BasicMetadataTypeEnum<'c>)| {
            let ty = BasicTypeEnum::try_from(*ty).map_err(|()| unsupported("parameters of kernel", &name))?;
            Ok(self.at.build_load(ty, self.slot(words, index)?, "")?.into())
        };
        let args = types.iter().enumerate().map(load).collect::<Result<Vec<BasicMetadataValueEnum<'c>>>>()?;
        self.at.build_call(kernel, &args, "")?;
        self.at.build_return(None)?;
        Ok(())
    }
    /// Functions that wait, or call one that does.
    fn collective(&self) -> BTreeSet<String> {
        let mut waits = self.waits.clone();
        loop {
            let more: Vec<_> = self.calls.iter().filter(|(from, to)| waits.contains(to) && !waits.contains(from)).collect();
            if more.is_empty() {
                return waits;
            }
            waits.extend(more.into_iter().map(|(from, _)| from.clone()));
        }
    }
}

/// Numbers of the instructions that do something with results of asynchronous products other than to pass them on.
fn uses_of_products(instructions: &[InstructionValue<'_>]) -> BTreeSet<usize> {
    let numbers: HashMap<_, usize> = instructions.iter().enumerate().map(|(number, instruction)| (*instruction, number)).collect();
    let is_product = |instruction: &InstructionValue<'_>| matches!(called(*instruction), Some(Op::GroupMma { .. }));
    let passes =
        |instruction: &InstructionValue<'_>| matches!(instruction.get_opcode(), InstructionOpcode::ExtractValue | InstructionOpcode::Phi);
    let mut open: Vec<_> = instructions.iter().copied().filter(is_product).collect();
    let (mut seen, mut uses) = (HashSet::new(), BTreeSet::new());
    while let Some(instruction) = open.pop() {
        let users = std::iter::successors(instruction.get_first_use(), |usage| usage.get_next_use());
        for user in users.filter_map(|usage| instruction_of(usage.get_user())) {
            if passes(&user) {
                open.extend(seen.insert(user).then_some(user));
            } else if !is_product(&user) {
                uses.extend(numbers.get(&user).copied());
            }
        }
    }
    uses
}

/// The operation that an instruction calls.
fn called(instruction: InstructionValue<'_>) -> Option<Op> {
    let call = CallSiteValue::try_from(instruction).ok()?;
    Op::of(&name_of(&call.get_called_fn_value()?))
}

/// A value as the instruction that it is.
pub(super) fn instruction_of(value: AnyValueEnum<'_>) -> Option<InstructionValue<'_>> {
    match value {
        AnyValueEnum::InstructionValue(instruction) => Some(instruction),
        AnyValueEnum::PointerValue(value) => value.as_instruction(),
        AnyValueEnum::IntValue(value) => value.as_instruction(),
        AnyValueEnum::FloatValue(value) => value.as_instruction(),
        AnyValueEnum::VectorValue(value) => value.as_instruction_value(),
        AnyValueEnum::StructValue(value) => value.as_instruction_value(),
        AnyValueEnum::PhiValue(value) => Some(value.as_instruction()),
        _ => None,
    }
}

fn function_type<'c>(
    result: Option<BasicTypeEnum<'c>>,
    params: &[BasicMetadataTypeEnum<'c>],
    context: inkwell::context::ContextRef<'c>,
) -> FunctionType<'c> {
    match result {
        Some(ty) => ty.fn_type(params, false),
        None => context.void_type().fn_type(params, false),
    }
}

fn result_types(ty: Option<BasicTypeEnum<'_>>) -> Vec<BasicTypeEnum<'_>> {
    match ty {
        None => Vec::new(),
        Some(BasicTypeEnum::StructType(ty)) => ty.get_field_types(),
        Some(ty) => vec![ty],
    }
}

/// Other intrinsics of LLVM are the same on every target, except those that access memory.
fn check_host_has(name: &str) -> Result<()> {
    let foreign = ["llvm.nvvm.", "llvm.masked.", "llvm.prefetch"];
    match name.starts_with("llvm.") && !foreign.iter().any(|prefix| name.starts_with(prefix)) {
        true => Ok(()),
        false => Err(unsupported("the function", name)),
    }
}

fn unsupported(what: &str, name: &str) -> CodegenError {
    CodegenError::Unsupported(format!("the emulator does not know {what} `{name}`"))
}

fn value_operand(instruction: InstructionValue<'_>, index: u32) -> Result<BasicValueEnum<'_>> {
    instruction
        .get_operand(index)
        .and_then(|operand| operand.value())
        .ok_or_else(|| unsupported("an operand of", &instruction.print_to_string().to_string()))
}

fn pointer_operand(instruction: InstructionValue<'_>, index: u32) -> Result<PointerValue<'_>> {
    match value_operand(instruction, index)? {
        BasicValueEnum::PointerValue(pointer) => Ok(pointer),
        _ => Err(unsupported("the addresses of", &instruction.print_to_string().to_string())),
    }
}

fn stored_type(instruction: InstructionValue<'_>, index: u32) -> Result<AnyTypeEnum<'_>> {
    Ok(value_operand(instruction, index)?.get_type().as_any_type_enum())
}

/// Whether an address is inside a variable on the stack, whatever the index.
fn is_local(pointer: PointerValue<'_>) -> bool {
    pointer.as_instruction().is_some_and(|instruction| instruction.get_opcode() == InstructionOpcode::Alloca)
}
