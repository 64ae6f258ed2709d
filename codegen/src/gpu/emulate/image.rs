//! A device module compiled for the host.

use super::arrays::{self, Arrays};
use super::block;
use super::op::Op;
use super::rewrite::{ACCESS, CALL, ENTRY, Site, is_kernel, name_of, rewrite};
use super::schedule::Entry;
use crate::error::CodegenError;
use crate::gpu::ptx;
use inkwell::OptimizationLevel;
use inkwell::attributes::AttributeLoc;
use inkwell::context::Context;
use inkwell::execution_engine::ExecutionEngine;
use inkwell::module::{Linkage, Module};
use inkwell::targets::{CodeModel, InitializationConfig, RelocMode, Target, TargetData, TargetMachine};
use inkwell::values::{AnyValue, FunctionValue, GlobalValue};
use mokume_runtime::gpu::arch::Arch;
use std::collections::BTreeMap;
use std::ops::Range;

type Result<T> = std::result::Result<T, CodegenError>;

/// A compiled module.
pub(super) struct Image {
    pub(super) kernels: BTreeMap<String, Kernel>,
    pub(super) ops: Vec<Op>,
    /// Where the module's own constants lie.
    pub(super) data: Vec<Range<u64>>,
    sites: Vec<Site>,
    /// The module as it came, to print instructions of.
    original: Module<'static>,
    /// Owns the machine code.
    _engine: ExecutionEngine<'static>,
    /// Dropped last: everything above lives in it.
    _context: Box<Context>,
}

/// A kernel of a compiled module.
#[derive(Clone)]
pub(super) struct Kernel {
    pub(super) entry: Entry,
    pub(super) params: usize,
    pub(super) arrays: Arrays,
    /// Whether its threads wait for each other.
    pub(super) is_collective: bool,
    /// The most threads of a block that it was compiled for.
    pub(super) max_threads: Option<u32>,
}

impl Image {
    /// Compiles a copy of `source`.
    pub(super) fn new(source: &Module<'_>) -> Result<Self> {
        let boxed = Box::new(Context::create());
        // SAFETY: the box is dropped after everything that refers to the context, and nothing of it is handed out.
        let context: &'static Context = unsafe { &*std::ptr::from_ref(boxed.as_ref()) };
        let module = Module::parse_bitcode_from_buffer(&source.write_bitcode_to_memory(), context)?;
        let original = module.clone();
        let machine = machine()?;
        module.set_triple(&machine.get_triple());
        let layout = machine.get_target_data();
        module.set_data_layout(&layout.get_data_layout());
        let protos = prototypes(&module);
        let arrays = arrays::place(&module, &layout);
        let rewritten = rewrite(&module, &layout)?;
        for_host(&module, &machine);
        let data = constants(&module, &layout);
        module.verify()?;
        let engine = module.create_jit_execution_engine(OptimizationLevel::Less)?;
        bind(&module, &engine);
        let find = |name: &str| engine.get_function_address(name).map_err(|error| CodegenError::Llvm(error.to_string()));
        let kernel = |(name, proto): (String, Prototype)| {
            let address = find(&format!("{ENTRY}{name}"))?;
            // SAFETY: `rewrite` made a function of this type under this name.
            let entry = unsafe { std::mem::transmute::<usize, Entry>(address) };
            let is_collective = rewritten.collective.contains(&name);
            let arrays = arrays.get(&name).cloned().unwrap_or_default();
            Ok((name, Kernel { entry, params: proto.params, arrays, is_collective, max_threads: proto.max_threads }))
        };
        let kernels = protos.into_iter().map(kernel).collect::<Result<_>>()?;
        let data = data.into_iter().map(|(name, bytes)| located(&engine, &name, bytes)).collect();
        Ok(Image { kernels, ops: rewritten.ops, data, sites: rewritten.sites, original, _engine: engine, _context: boxed })
    }
    /// The PTX of the module.
    pub(super) fn ptx(&self, arch: Arch) -> Result<String> {
        ptx::emit(&self.original, arch)
    }
    /// The instruction at a site, as LLVM prints it.
    pub(super) fn instruction(&self, site: u32) -> String {
        let site = self.sites.get(site as usize);
        let found = site.and_then(|site| {
            let function = self.original.get_function(&site.function)?;
            function.get_basic_block_iter().flat_map(|block| block.get_instructions()).nth(site.ordinal)
        });
        found.map_or(String::new(), |instruction| instruction.print_to_string().to_string().trim().to_string())
    }
}

/// What is known of a kernel before it is rewritten.
struct Prototype {
    params: usize,
    max_threads: Option<u32>,
}

fn prototypes(module: &Module<'_>) -> BTreeMap<String, Prototype> {
    let kernels = module.get_functions().filter(is_kernel);
    let prototype = |kernel: FunctionValue<'_>| {
        let threads = kernel.get_string_attribute(AttributeLoc::Function, "nvvm.maxntid");
        let threads = threads
            .map(|threads| threads.get_string_value().to_string_lossy().split(',').filter_map(|part| part.parse::<u32>().ok()).product());
        (name_of(&kernel), Prototype { params: kernel.count_params() as usize, max_threads: threads })
    };
    kernels.map(prototype).collect()
}

fn machine() -> Result<TargetMachine> {
    Target::initialize_native(&InitializationConfig::default()).map_err(CodegenError::Llvm)?;
    let triple = TargetMachine::get_default_triple();
    let (cpu, features) = (TargetMachine::get_host_cpu_name(), TargetMachine::get_host_cpu_features());
    let machine = Target::from_triple(&triple)?.create_target_machine(
        &triple,
        &cpu.to_string(),
        &features.to_string(),
        OptimizationLevel::Less,
        RelocMode::Default,
        CodeModel::JITDefault,
    );
    machine.ok_or_else(|| CodegenError::Missing("the host as a target".to_string()))
}

/// Compiles every function for the processor of the host, not for the device that the module names.
fn for_host(module: &Module<'_>, machine: &TargetMachine) {
    let context = module.get_context();
    let (cpu, features) = (machine.get_cpu().to_string(), machine.get_feature_string().to_string_lossy().into_owned());
    for function in module.get_functions().filter(|function| function.count_basic_blocks() > 0) {
        for attribute in function.attributes(AttributeLoc::Function) {
            if attribute.is_string() {
                function.remove_string_attribute(AttributeLoc::Function, &attribute.get_string_kind_id().to_string_lossy());
            }
        }
        function.add_attribute(AttributeLoc::Function, context.create_string_attribute("target-cpu", &cpu));
        function.add_attribute(AttributeLoc::Function, context.create_string_attribute("target-features", &features));
    }
}

/// Names and sizes of the module's own data, made visible to the engine.
fn constants(module: &Module<'_>, layout: &TargetData) -> Vec<(String, u64)> {
    let named = |(index, global): (usize, GlobalValue<'_>)| {
        let name = format!("mokume.emulate.data.{index}");
        global.set_name(&name);
        global.set_linkage(Linkage::External);
        (name, layout.get_abi_size(&global.get_value_type()))
    };
    let held = module.get_globals().filter(|global| global.get_initializer().is_some());
    held.enumerate().map(named).collect()
}

fn located(engine: &ExecutionEngine<'_>, name: &str, bytes: u64) -> Range<u64> {
    let name = std::ffi::CString::new(name).unwrap_or_default();
    // SAFETY: the engine lives, and the name ends with a zero.
    let start = unsafe { inkwell::llvm_sys::execution_engine::LLVMGetGlobalValueAddress(engine.as_mut_ptr(), name.as_ptr()) };
    start..start + bytes
}

fn bind(module: &Module<'_>, engine: &ExecutionEngine<'_>) {
    let hooks = [(ACCESS, block::access as *const () as usize), (CALL, block::call as *const () as usize)];
    for (name, address) in hooks {
        if let Some(function) = module.get_function(name) {
            engine.add_global_mapping(&function, address);
        }
    }
}
