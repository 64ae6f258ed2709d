//! From kernel descriptions to the bytes of an object file.

use super::build::Build;
use super::kernel;
use crate::error::CodegenError;
use crate::kernel::KernelSpec;
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple};
use mokume_runtime::cpu::isa::IsaLevel;
use std::collections::BTreeSet;
use std::sync::Once;

/// Objects are loaded by the runtime's own loader, on every system alike.
const X86_64: &str = "x86_64-unknown-linux-gnu";
const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// The code is written as it shall be; what remains is to share subexpressions and to move invariants out of loops.
const PASSES: &str =
    "function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(loop-rotate,licm),early-cse,instcombine<no-verify-fixpoint>)";

/// An ELF object with one function per description; the same bytes for the same set.
///
/// Errors  when LLVM lacks the target or refuses the module.
pub fn compile(specs: &BTreeSet<KernelSpec>, level: IsaLevel) -> Result<Vec<u8>, CodegenError> {
    let machine = machine(level)?;
    let context = Context::create();
    let module = context.create_module("kernels");
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    let build = Build::new(&context, module, level);
    specs.iter().try_for_each(|spec| kernel::emit(&build, spec))?;
    object(&build.module, &machine)
}

fn object(module: &Module<'_>, machine: &TargetMachine) -> Result<Vec<u8>, CodegenError> {
    module.verify()?;
    module.run_passes(PASSES, machine, PassBuilderOptions::create())?;
    Ok(machine.write_to_memory_buffer(module, FileType::Object)?.as_slice().to_vec())
}

fn machine(level: IsaLevel) -> Result<TargetMachine, CodegenError> {
    initialize();
    let (name, cpu, features) = target(level);
    let triple = TargetTriple::create(name);
    Target::from_triple(&triple)?
        .create_target_machine(&triple, cpu, features, OptimizationLevel::Default, RelocMode::PIC, CodeModel::Small)
        .ok_or_else(|| CodegenError::Missing(format!("the target {name} {cpu}")))
}

/// Triple, CPU and features.
fn target(level: IsaLevel) -> (&'static str, &'static str, &'static str) {
    match level {
        IsaLevel::Neon => (AARCH64, "generic", "+v8.2a,+dotprod"),
        IsaLevel::X86_64 => (X86_64, "x86-64", ""),
        IsaLevel::Avx2 => (X86_64, "x86-64-v3", ""),
        IsaLevel::Avx512 => (X86_64, "x86-64-v4", "+avx512vnni,+avx512vpopcntdq,+avx512bitalg,+avx512vbmi,-prefer-256-bit"),
    }
}

fn initialize() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        Target::initialize_x86(&InitializationConfig::default());
        Target::initialize_aarch64(&InitializationConfig::default());
        // SAFETY: the handler only reads the message before LLVM ends the process.
        unsafe { inkwell::support::error_handling::install_fatal_error_handler(report) }
    });
}

/// Called by LLVM before it ends the process on a bug of ours: names the message as a panic would.
extern "C" fn report(message: *const std::ffi::c_char) {
    // SAFETY: LLVM passes a C string.
    let message = unsafe { std::ffi::CStr::from_ptr(message) };
    #[allow(clippy::print_stderr, reason = "the process ends here; nobody else can say why")]
    {
        eprintln!("mokume: LLVM stopped: {}", message.to_string_lossy());
    }
}
