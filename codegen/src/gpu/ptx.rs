//! From a module of device code to PTX for one architecture.

use super::build::Result;
use crate::error::CodegenError;
use inkwell::OptimizationLevel;
use inkwell::context::ContextRef;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple};
use inkwell::values::{BasicMetadataValueEnum, BasicValue, FunctionValue, InstructionOpcode, InstructionValue};
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
    let assembly = assembly(&name[PREFIX.len()..]).ok_or_else(|| CodegenError::Missing(format!("assembly for {name}")))?;
    let mut calls = Vec::new();
    for caller in module.get_functions() {
        let instructions = caller.get_basic_block_iter().flat_map(|block| block.get_instructions());
        calls.extend(instructions.filter(|instruction| calls_to(*instruction, function)));
    }
    calls.into_iter().try_for_each(|call| inline(module.get_context(), call, function, &assembly))
}

fn calls_to(instruction: InstructionValue<'_>, function: FunctionValue<'_>) -> bool {
    let callee = instruction.get_num_operands().checked_sub(1).and_then(|last| instruction.get_operand(last));
    let pointer = callee.and_then(|operand| operand.value()).filter(|value| value.is_pointer_value());
    instruction.get_opcode() == InstructionOpcode::Call
        && pointer.is_some_and(|value| value.into_pointer_value() == function.as_global_value().as_pointer_value())
}

fn inline<'c>(context: ContextRef<'c>, call: InstructionValue<'c>, function: FunctionValue<'c>, assembly: &Assembly) -> Result<()> {
    let ty = function.get_type();
    let asm = context.create_inline_asm(ty, assembly.text.clone(), assembly.constraints.clone(), true, false, None, false);
    let builder = context.create_builder();
    builder.position_before(&call);
    let operands = (0..call.get_num_operands() - 1).filter_map(|i| call.get_operand(i)?.value());
    let operands: Vec<BasicMetadataValueEnum<'c>> = operands.map(Into::into).collect();
    let replaced = builder.build_indirect_call(ty, asm, &operands, "")?;
    if let Some(value) = replaced.try_as_basic_value().basic().and_then(|value| value.as_instruction_value()) {
        call.replace_all_uses_with(&value);
    }
    call.erase_from_basic_block();
    Ok(())
}

/// Inline assembly in LLVM's form.
struct Assembly {
    text: String,
    constraints: String,
}

/// What a symbol stands for.
fn assembly(name: &str) -> Option<Assembly> {
    let n: usize = name.strip_prefix("wgmma.m64k256.and.popc.n")?.parse().ok()?;
    Some(group_mma(n))
}

/// `wgmma` of bits: accumulators (tied), four registers of A, the descriptor of B.
fn group_mma(n: usize) -> Assembly {
    let count = n / 2;
    let list = |range: std::ops::Range<usize>| range.map(|i| format!("${i}")).collect::<Vec<_>>().join(", ");
    let (c, a) = (list(0..count), list(count..count + 4));
    let text =
        format!("wgmma.mma_async.sync.aligned.m64n{n}k256.s32.b1.b1.and.popc {{{c}}}, {{{a}}}, ${}, 1;", count + 4).replace("$$", "$");
    let mut constraints = vec!["=r".to_string(); count];
    constraints.extend(vec!["r".to_string(); 4]);
    constraints.push("l".into());
    constraints.extend((0..count).map(|i| i.to_string()));
    Assembly { text, constraints: constraints.join(",") }
}
