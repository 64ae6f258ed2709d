//! Mistakes planted into the kernels themselves, by editing their instructions: the emulator has to name each, with its place.

use super::*;
use inkwell::module::Module;
use inkwell::values::{AnyValue, InstructionOpcode, InstructionValue, PointerValue};
use mokume_codegen::gpu::emulate::FaultKind;

/// A kernel of several warps that share stages, or of one warp alone.
fn spec(case: &Case, lowering: Lowering, warps: (u8, u8)) -> MatmulSpec {
    let (tokens, groups, columns) = match lowering {
        Lowering::Integer | Lowering::IntegerGroup => (8, 2, 2),
        _ => (8, 1, 1),
    };
    let tile = Tile { tokens, groups, columns, warps_m: warps.0, warps_n: warps.1, warps_k: 1, stages: 3 };
    MatmulSpec { product: product(case), lowering, tile, store: Store::Scaled(Ending::default()) }
}

/// Families, with warps that share stages and with one alone.
const FAMILIES: [(Lowering, (u8, u8)); 6] = [
    (Lowering::Binary, (2, 2)),
    (Lowering::Binary, (1, 1)),
    (Lowering::BinaryGroup, (1, 4)),
    (Lowering::Integer, (2, 2)),
    (Lowering::Integer, (1, 1)),
    (Lowering::IntegerGroup, (1, 4)),
];

fn small_case() -> Case {
    Case::random(&mut Random::new(77), (4, Levels::Signed, false), (8, Levels::Signed), (19, 45, 700), None, None)
}

/// Runs a kernel with a mistake in it.
fn run(lowering: Lowering, warps: (u8, u8), plant: &dyn Fn(&Module<'_>)) -> Result<(Vec<u32>, Vec<u32>), Fault> {
    let case = small_case();
    let spec = spec(&case, lowering, warps);
    let mut run = Run::edited(&case, &spec, |build| bit_matmul::emit(build, &spec).unwrap(), plant);
    let (grid, threads) = (spec.grid(&run.layout, case.m, 1), spec.tile.threads());
    let (_, results) = run.try_launch(&spec.symbol(), run.args, grid, threads, spec.shared_bytes(), case.m * case.n)?;
    Ok((results, expected(&case, &case.accumulators(), &[0, 1], Ending::default())))
}

fn instructions<'c>(module: &Module<'c>) -> Vec<InstructionValue<'c>> {
    let blocks = module.get_functions().flat_map(|function| function.get_basic_block_iter());
    blocks.flat_map(|block| block.get_instructions()).collect()
}

/// Calls whose text holds one of these names.
fn calls<'c>(module: &Module<'c>, names: &[&str]) -> Vec<InstructionValue<'c>> {
    let is_call = |instruction: &InstructionValue<'c>| {
        let text = instruction.print_to_string().to_string();
        instruction.get_opcode() == InstructionOpcode::Call && names.iter().any(|name| text.contains(name))
    };
    instructions(module).into_iter().filter(is_call).collect()
}

fn delete(module: &Module<'_>, names: &[&str]) {
    let calls = calls(module, names);
    assert!(!calls.is_empty(), "no call of {names:?}");
    calls.into_iter().for_each(InstructionValue::erase_from_basic_block);
}

/// Moves the address that an instruction uses.
fn shift(module: &Module<'_>, instruction: InstructionValue<'_>, operand: u32, bytes: u64) {
    let context = module.get_context();
    let builder = context.create_builder();
    builder.position_before(&instruction);
    let address: PointerValue<'_> = instruction.get_operand(operand).unwrap().unwrap_value().into_pointer_value();
    let offset = context.i64_type().const_int(bytes, false);
    let moved = unsafe { builder.build_gep(context.i8_type(), address, &[offset], "").unwrap() };
    instruction.set_operand(operand, moved);
}

/// Checks the kind of the fault and that its text names kernel, instruction and these words.
fn assert_named(lowering: Lowering, fault: &Fault, kind: FaultKind, words: &[&str]) {
    let text = fault.to_string();
    assert_eq!(fault.kind, kind, "{text}");
    let kernel = format!("kernel `bit_matmul_{}_", lowering.name());
    for word in words.iter().copied().chain([kernel.as_str(), "thread (", "; at `"]) {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

/// Swaps the first two fragments of a matrix product.
fn swap(module: &Module<'_>) {
    let call = calls(module, &["llvm.nvvm.mma.", "mokume.gpu.wgmma.m64"])[0];
    let operand = |index| call.get_operand(index).unwrap().unwrap_value();
    let (first, second) = (operand(0), operand(1));
    call.set_operand(0, second);
    call.set_operand(1, first);
}

#[test]
fn kernels_without_a_mistake_pass() {
    for (lowering, warps) in FAMILIES {
        let (results, expected) = run(lowering, warps, &|_| {}).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(results == expected, "{} {warps:?}", lowering.name());
    }
}

#[test]
fn wrong_fragments_give_wrong_numbers() {
    for (lowering, warps) in FAMILIES {
        let (results, expected) = run(lowering, warps, &swap).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(results != expected, "{} {warps:?}", lowering.name());
    }
}

#[test]
fn missing_barriers_are_named() {
    let barriers = ["llvm.nvvm.barrier.cta.sync", "llvm.nvvm.bar.warp.sync"];
    for (lowering, warps) in FAMILIES {
        let fault = run(lowering, warps, &|module| delete(module, &barriers)).unwrap_err();
        assert_named(lowering, &fault, FaultKind::MissingBarrier, &["shared memory that thread", "after the last barrier", "`shared`"]);
    }
}

#[test]
fn missing_waits_are_named() {
    for (lowering, warps) in FAMILIES {
        let fault = run(lowering, warps, &|module| delete(module, &["llvm.nvvm.cp.async.wait.group"])).unwrap_err();
        assert_named(lowering, &fault, FaultKind::MissingWait, &["before the wait", "`shared`"]);
    }
}

#[test]
fn addresses_out_of_bounds_are_named() {
    for (lowering, warps) in FAMILIES {
        let far_copy = |module: &Module<'_>| shift(module, calls(module, &["llvm.nvvm.cp.async.cg"])[0], 1, 1 << 20);
        let fault = run(lowering, warps, &far_copy).unwrap_err();
        assert_named(lowering, &fault, FaultKind::OutOfBounds, &["of an allocation of", "cp.async"]);
        let far_stage = |module: &Module<'_>| shift(module, calls(module, &["llvm.nvvm.cp.async.cg"])[0], 0, 1 << 17);
        let fault = run(lowering, warps, &far_stage).unwrap_err();
        assert_named(lowering, &fault, FaultKind::OutOfBounds, &["of shared array `shared`"]);
        let far_store = |module: &Module<'_>| {
            let mut stores = instructions(module).into_iter().filter(|instruction| instruction.get_opcode() == InstructionOpcode::Store);
            shift(module, stores.next_back().unwrap(), 1, 19 * 45 * 4);
        };
        let fault = run(lowering, warps, &far_store).unwrap_err();
        assert_named(lowering, &fault, FaultKind::OutOfBounds, &["of an allocation of 3420 bytes", "store"]);
    }
}
