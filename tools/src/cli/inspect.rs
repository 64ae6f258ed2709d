//! `mokume inspect`: what a model or an artifact holds.

use crate::cli::options;
use crate::cli::talk::Talk;
use crate::driver::source::{self, Source};
use crate::report::device::{self, DeviceKernels};
use crate::report::table::{Table, bytes};
use mokume_ir::diag::Report;
use mokume_ir::graph::{Graph, Module};
use mokume_ir::op::Op;
use mokume_runtime::artifact;
use mokume_runtime::cpu::kernels::Kernels;
use mokume_runtime::gpu::code::DeviceWeights;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Say what a model holds (.onnx, .gir or .mok)
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model
    pub model: PathBuf,
    /// Bring an .onnx or .gir to canonical form first
    #[arg(long)]
    pub canonical: bool,
}

#[derive(Serialize)]
struct Inspection {
    name: String,
    inputs: Vec<(String, String)>,
    outputs: Vec<(String, String)>,
    states: usize,
    functions: usize,
    nodes: usize,
    ops: BTreeMap<String, usize>,
    weight_matmuls: usize,
    shape_ops: usize,
    constants: usize,
    constant_bytes: usize,
    elems: BTreeMap<String, usize>,
    /// Bytes of native code by level.
    native: BTreeMap<&'static str, usize>,
    /// Bytes of PTX by GPU architecture.
    ptx: BTreeMap<&'static str, usize>,
    /// Bytes of weights in the layout of GPU kernels.
    device_weight_bytes: usize,
    /// Kernels of products by GPU architecture.
    device: Vec<DeviceKernels>,
}

/// Runs the verb.
///
/// Errors  when the model is missing or broken.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    options::existing(&args.model)?;
    let inspection = match source::open(&args.model, &artifact::ReadOptions::default())? {
        Source::Compiled(program) => Inspection { device: device::kernels(&program)?, ..inspect(&program.module, program.kernels()) },
        Source::Graph(mut module) => {
            if args.canonical {
                let pipeline = crate::driver::compile::pipeline(None, None)?;
                crate::driver::pipelines::apply(&mut module, &pipeline, &Default::default(), &mut |_, _, _| {})?;
            }
            inspect(&module, &Kernels::default())
        }
    };
    talk.result(&inspection, text(&inspection));
    Ok(())
}

fn inspect(module: &Module, kernels: &Kernels) -> Inspection {
    let main = module.main();
    let hidden = |outputs: bool, index: usize| {
        main.states.iter().any(|s| if outputs { s.output as usize == index } else { s.input as usize == index })
    };
    let ports = |outputs: bool, ports: &[mokume_ir::graph::Port]| {
        let shown = ports.iter().enumerate().filter(|(i, _)| !hidden(outputs, *i));
        shown.map(|(_, port)| (port.name.clone(), main.ty(port.value).to_string())).collect()
    };
    let used = used_constants(module);
    // What kernels hold in their own layout is not held by the constant.
    let size = |id| kernels.weights.get(&id).map_or(module.constants[id].byte_len(), |packed| packed.bytes.len());
    Inspection {
        name: module.name.clone(),
        inputs: ports(false, main.inputs()),
        outputs: ports(true, main.outputs()),
        states: main.states.len(),
        functions: module.functions.len(),
        nodes: nodes(module).count(),
        ops: count(nodes(module).map(|(_, op)| op_label(op))),
        weight_matmuls: module.functions.iter().map(|(_, graph)| weight_matmuls(graph)).sum(),
        shape_ops: nodes(module).filter(|(_, op)| is_shape_op(op)).count(),
        constants: used.len(),
        constant_bytes: used.iter().map(|&id| size(id)).sum(),
        elems: used.iter().fold(BTreeMap::new(), |mut map, &id| {
            *map.entry(module.constants[id].ty.elem.to_string()).or_default() += size(id);
            map
        }),
        native: kernels.objects.iter().map(|(level, code)| (level.name(), code.len())).collect(),
        ptx: kernels.device.ptx.iter().map(|(arch, text)| (arch.name(), text.len())).collect(),
        device_weight_bytes: kernels.device.weights.values().map(DeviceWeights::byte_len).sum(),
        device: vec![],
    }
}

fn nodes(module: &Module) -> impl Iterator<Item = (&Graph, &Op)> {
    module.functions.iter().flat_map(|(_, graph)| graph.node_ids().map(move |id| (graph, &graph[id].op)))
}

fn op_label(op: &Op) -> String {
    match op {
        Op::Activation(activation) => activation.kind.name().into(),
        Op::Reduce(reduce) => format!("reduce {}", reduce.kind.name()),
        _ => op.name().into(),
    }
}

fn count(labels: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    labels.fold(BTreeMap::new(), |mut map, label| {
        *map.entry(label).or_default() += 1;
        map
    })
}

/// Matrix products whose second operand is a constant, quantized or not.
fn weight_matmuls(graph: &Graph) -> usize {
    let weight = |id: &mokume_ir::ids::NodeId| {
        let node = &graph[*id];
        matches!(node.op, Op::Matmul(_) | Op::BitMatmul(_)) && node.inputs.get(1).is_some_and(|&w| graph.constant(w).is_some())
    };
    graph.node_ids().filter(weight).count()
}

/// Ops that only compute shapes.
fn is_shape_op(op: &Op) -> bool {
    matches!(op, Op::ShapeOf(_) | Op::SizeOf(_) | Op::DimsOf(_))
}

fn used_constants(module: &Module) -> Vec<mokume_ir::ids::ConstId> {
    let values = module
        .functions
        .iter()
        .flat_map(|(_, graph)| graph.value_ids().filter(|&v| !graph[v].uses.is_empty()).filter_map(|v| graph.constant(v)));
    let mut ids: Vec<_> = values.collect();
    ids.sort();
    ids.dedup();
    ids
}

fn text(inspection: &Inspection) -> String {
    let mut table = Table::new(["op", "count"]);
    inspection.ops.iter().for_each(|(op, count)| table.row([op.clone(), count.to_string()]));
    let ports = |ports: &[(String, String)]| ports.iter().map(|(name, ty)| format!("  {name}: {ty}\n")).collect::<String>();
    let elems = inspection.elems.iter().map(|(elem, size)| format!("  {elem}: {}\n", bytes(*size))).collect::<String>();
    let native = inspection.native.iter().map(|(level, size)| format!("native code {level}: {}\n", bytes(*size))).collect::<String>();
    let ptx = inspection.ptx.iter().map(|(arch, size)| format!("device code {arch}: {}\n", bytes(*size))).collect::<String>();
    let code = match inspection.device_weight_bytes {
        0 => ptx,
        size => format!("{ptx}device weights: {}\n", bytes(size)),
    };
    let chosen: String = inspection.device.iter().map(|kernels| format!("\n{}\n{}", kernels.summary(), kernels.table())).collect();
    format!(
        "{}\ninputs\n{}outputs\n{}states {}, functions {}, nodes {}, weight matmuls {}, shape ops {}\nconstants {}, {}\n{elems}{native}{code}{table}{chosen}",
        inspection.name,
        ports(&inspection.inputs),
        ports(&inspection.outputs),
        inspection.states,
        inspection.functions,
        inspection.nodes,
        inspection.weight_matmuls,
        inspection.shape_ops,
        inspection.constants,
        bytes(inspection.constant_bytes),
    )
}
