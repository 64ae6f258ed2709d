//! From a module of device code to PTX for one architecture.

use super::build::Result;
use crate::error::CodegenError;
use inkwell::OptimizationLevel;
use inkwell::context::ContextRef;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple};
use inkwell::types::{BasicMetadataTypeEnum, BasicType};
use inkwell::values::{BasicMetadataValueEnum, BasicValue, BasicValueEnum, FunctionValue, InstructionOpcode, InstructionValue};
use mokume_runtime::gpu::arch::Arch;
use std::sync::Once;

const TRIPLE: &str = "nvptx64-nvidia-cuda";
const PREFIX: &str = "mokume.gpu.";

/// The PTX of all kernels of a module.
///
/// Errors  when the module is not valid, or calls a symbol that has no assembly.
pub fn emit(module: &Module<'_>, arch: Arch) -> Result<String> {
    let machine = machine(arch)?;
    let module = module.clone();
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    replace_symbols(&module)?;
    module.verify()?;
    module.run_passes("default<O3>", &machine, PassBuilderOptions::create())?;
    let text = machine.write_to_memory_buffer(&module, FileType::Assembly)?;
    Ok(String::from_utf8_lossy(text.as_slice()).trim_end_matches('\0').to_string())
}

fn machine(arch: Arch) -> Result<TargetMachine> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| Target::initialize_nvptx(&InitializationConfig::default()));
    let triple = TargetTriple::create(TRIPLE);
    let features = format!("+ptx{}", arch.ptx_version());
    Target::from_triple(&triple)?
        .create_target_machine(&triple, arch.name(), &features, OptimizationLevel::Aggressive, RelocMode::Default, CodeModel::Default)
        .ok_or_else(|| CodegenError::Missing(format!("the target {TRIPLE} {arch}")))
}

/// Calls of own symbols become inline assembly.
fn replace_symbols(module: &Module<'_>) -> Result<()> {
    let symbols = module.get_functions().filter(|function| name_of(*function).starts_with(PREFIX));
    symbols.collect::<Vec<_>>().into_iter().try_for_each(|function| replace(module, function))
}

fn name_of(function: FunctionValue<'_>) -> String {
    function.get_name().to_string_lossy().into_owned()
}

fn replace<'c>(module: &Module<'c>, function: FunctionValue<'c>) -> Result<()> {
    let name = name_of(function);
    let product = Product::of(&name[PREFIX.len()..]).ok_or_else(|| CodegenError::Missing(format!("assembly for {name}")))?;
    let mut calls = Vec::new();
    for caller in module.get_functions() {
        let instructions = caller.get_basic_block_iter().flat_map(|block| block.get_instructions());
        calls.extend(instructions.filter(|instruction| calls_to(*instruction, function)));
    }
    calls.into_iter().try_for_each(|call| inline(module.get_context(), call, function, &product))
}

fn calls_to(instruction: InstructionValue<'_>, function: FunctionValue<'_>) -> bool {
    let callee = instruction.get_num_operands().checked_sub(1).and_then(|last| instruction.get_operand(last));
    let pointer = callee.and_then(|operand| operand.value()).filter(|value| value.is_pointer_value());
    instruction.get_opcode() == InstructionOpcode::Call
        && pointer.is_some_and(|value| value.into_pointer_value() == function.as_global_value().as_pointer_value())
}

fn inline<'c>(context: ContextRef<'c>, call: InstructionValue<'c>, function: FunctionValue<'c>, product: &Product) -> Result<()> {
    let mut operands: Vec<BasicValueEnum<'c>> = (0..call.get_num_operands() - 1).filter_map(|i| call.get_operand(i)?.value()).collect();
    let before = operands.len() - product.sums();
    let adds = !operands[before..].iter().all(|operand| is_zero(*operand));
    if !adds {
        operands.truncate(before);
    }
    let results = function.get_type().get_return_type().ok_or_else(|| CodegenError::Missing("results of a product".into()))?;
    let types: Vec<BasicMetadataTypeEnum<'c>> = operands.iter().map(|operand| operand.get_type().into()).collect();
    let ty = results.fn_type(&types, false);
    let asm = context.create_inline_asm(ty, product.text(adds), product.constraints(adds), true, false, None, false);
    let builder = context.create_builder();
    builder.position_before(&call);
    let operands: Vec<BasicMetadataValueEnum<'c>> = operands.into_iter().map(Into::into).collect();
    let replaced = builder.build_indirect_call(ty, asm, &operands, "")?;
    if let Some(value) = replaced.try_as_basic_value().basic().and_then(|value| value.as_instruction_value()) {
        call.replace_all_uses_with(&value);
    }
    call.erase_from_basic_block();
    Ok(())
}

fn is_zero(value: BasicValueEnum<'_>) -> bool {
    value.is_int_value() && value.into_int_value().get_zero_extended_constant() == Some(0)
}

/// Products of a group of warps that a symbol stands for: operands are registers of A, the descriptor of B, and accumulators, which
/// the results replace. Accumulators that are all 0 are no operands of the assembly.
struct Product {
    n: usize,
    bytes: bool,
}

impl Product {
    fn of(name: &str) -> Option<Self> {
        let columns = |prefix: &str| name.strip_prefix(prefix).and_then(|n| n.parse().ok());
        let bits = columns("wgmma.m64k256.and.popc.n").map(|n| Product { n, bytes: false });
        bits.or_else(|| Some(Product { n: columns("wgmma.m64k128.u8.s8.n")?, bytes: true }))
    }
    /// Accumulators.
    fn sums(&self) -> usize {
        self.n / 2
    }
    /// Instructions, each with four registers of A of its own.
    fn steps(&self) -> usize {
        if self.bytes { 4 } else { 1 }
    }
    /// The matrix of every instruction begins two units after that of the one before.
    fn text(&self, adds: bool) -> String {
        const UNITS: usize = 2 * 128 / 16;
        let list = |range: std::ops::Range<usize>| range.map(|i| format!("${i}")).collect::<Vec<_>>().join(", ");
        let (sums, n) = (self.sums(), self.n);
        let kind = if self.bytes { "k32.s32.u8.s8" } else { "k256.s32.b1.b1.and.popc" };
        let step = |step: usize| {
            let (c, a) = (list(0..sums), list(sums + 4 * step..sums + 4 * step + 4));
            let (b, adds) = (format!("add.u64 b, ${}, {};", sums + 4 * self.steps(), step * UNITS), u8::from(adds || step > 0));
            format!("{b} wgmma.mma_async.sync.aligned.m64n{n}{kind} {{{c}}}, {{{a}}}, b, {adds};")
        };
        format!("{{ .reg .b64 b; {} }}", (0..self.steps()).map(step).collect::<Vec<_>>().join(" "))
    }
    fn constraints(&self, adds: bool) -> String {
        let mut constraints = vec!["=r".to_string(); self.sums()];
        constraints.extend(vec!["r".to_string(); 4 * self.steps()]);
        constraints.push("l".into());
        constraints.extend((0..self.sums()).filter(|_| adds).map(|i| i.to_string()));
        constraints.join(",")
    }
}
