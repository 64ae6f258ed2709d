//! The kernels of a program: object code per level, packed weights, and which node uses what.

use super::call::Product;
use super::isa::IsaLevel;
use super::loader::Code;
use super::spec::{BitProduct, KernelSpec, Layout, ScaleFormat, Strategy, VECTOR};
use super::table::Table;
use crate::gpu::code::DeviceCode;
use bytes::Bytes;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::{Graph, Module, Node};
use mokume_ir::ids::{ConstId, FuncId, NodeId};
use mokume_ir::op::Op;
use mokume_ir::quant::Levels;
use std::collections::{BTreeMap, HashMap};

/// What codegen makes of a module beside the module itself.
#[derive(Debug, Clone, Default)]
pub struct Kernels {
    /// Object files, one per level.
    pub objects: Vec<(IsaLevel, Bytes)>,
    /// Weights that kernels hold in their own layout.
    pub weights: BTreeMap<ConstId, PackedWeights>,
    /// Code and weights for GPUs.
    pub device: DeviceCode,
}

/// A quantized constant `[n, k]` in the layout of kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeights {
    /// How products are formed.
    pub strategy: Strategy,
    /// How scales are stored.
    pub scales: ScaleFormat,
    /// Groups of columns, each packed by itself.
    pub groups: usize,
    /// How files hold the codes, where that is in fewer bits than kernels.
    pub dense: Option<Dense>,
    /// The groups one after the other.
    pub bytes: Bytes,
}

impl PackedWeights {
    /// Bytes in a file.
    pub fn stored_bytes(&self) -> usize {
        self.dense.map_or(self.bytes.len(), |dense| self.bytes.len() / dense.tile.max(1) * dense.stored_tile())
    }
}

/// Weights whose levels are fewer than their bits have: what tells how their codes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dense {
    /// Five levels or three.
    pub levels: Levels,
    /// Bytes of a tile.
    pub tile: usize,
    /// Bytes before its codes.
    pub head: usize,
}

impl Dense {
    /// That of weights with these levels in this layout; none where every code of so many bits is a level.
    pub fn of(levels: Levels, layout: &Layout) -> Option<Self> {
        matches!(levels, Levels::Five | Levels::Ternary).then_some(Dense { levels, tile: layout.tile_bytes, head: layout.codes })
    }
    /// Bits of a code in kernels.
    pub fn bits(&self) -> usize {
        if self.levels == Levels::Five { 3 } else { 2 }
    }
    /// Number of levels.
    pub fn radix(&self) -> u8 {
        self.levels.count(self.bits() as u8) as u8
    }
    /// How many codes are one number, and its bits.
    pub fn numbers(&self) -> (usize, u32) {
        if self.levels == Levels::Five { (3, 7) } else { (5, 8) }
    }
    /// Codes of a tile.
    pub fn codes(&self) -> usize {
        (self.tile - self.head) * 8 / self.bits()
    }
    /// Bytes of a tile in a file.
    pub fn stored_tile(&self) -> usize {
        let (count, bits) = self.numbers();
        self.head + (self.codes().div_ceil(count) * bits as usize).div_ceil(8)
    }
    /// Whether tiles have whole frames.
    pub fn fits(&self) -> bool {
        self.head < self.tile && (self.tile - self.head).is_multiple_of(self.bits() * VECTOR)
    }
}

/// Kernels loaded for this machine.
#[derive(Debug, Default)]
pub struct Loaded {
    level: Option<IsaLevel>,
    /// One product per group.
    products: HashMap<(FuncId, NodeId), Vec<Product>>,
    /// What `bit_gather` reads of the weights of a product.
    tables: HashMap<(FuncId, NodeId), Table>,
    /// Keeps the code in memory.
    _code: Option<Code>,
}

impl Loaded {
    /// Loads the newest level that this machine runs and binds every node whose weights are packed.
    ///
    /// Errors  naming the node whose kernel is missing or does not fit, or why the code is refused.
    pub fn load(kernels: &Kernels, module: &Module) -> Result<Self, Report> {
        if kernels.weights.is_empty() {
            return Ok(Loaded::default());
        }
        let runs = kernels.objects.iter().filter(|(level, _)| level.is_supported()).max_by_key(|(level, _)| *level);
        let Some((level, object)) = runs else { return Err(no_level(kernels)) };
        let code = Code::load(object).map_err(|error| Diagnostic::input("kernels::code", error.to_string()))?;
        let mut products = HashMap::new();
        for (function, graph) in module.functions.iter() {
            for node in graph.node_ids() {
                if let Some(bound) = bind(kernels, module, graph, &graph[node], (*level, &code))? {
                    products.insert((function, node), bound);
                }
            }
        }
        let tables = tables(kernels, module, &products)?;
        Ok(Loaded { level: Some(*level), products, tables, _code: Some(code) })
    }
    /// The packed weights that a `bit_gather` reads.
    pub fn table(&self, function: FuncId, node: NodeId) -> Option<&Table> {
        self.tables.get(&(function, node))
    }
    /// The products of a node, one per group.
    pub fn products(&self, function: FuncId, node: NodeId) -> Option<&[Product]> {
        self.products.get(&(function, node)).map(Vec::as_slice)
    }
    /// The level whose code was loaded.
    pub fn level(&self) -> Option<IsaLevel> {
        self.level
    }
}

fn no_level(kernels: &Kernels) -> Report {
    let names: Vec<&str> = kernels.objects.iter().map(|(level, _)| level.name()).collect();
    let message = format!("this machine runs none of the levels of the kernels: {}", names.join(", "));
    Diagnostic::input("kernels::level", message).help("compile with --target x86-64").into()
}

/// The tables of all nodes that read rows of packed weights.
fn tables(
    kernels: &Kernels,
    module: &Module,
    products: &HashMap<(FuncId, NodeId), Vec<Product>>,
) -> Result<HashMap<(FuncId, NodeId), Table>, Report> {
    let weights = |&(function, node): &(FuncId, NodeId)| module[function].constant(*module[function][node].inputs.get(1)?);
    let by_weights: HashMap<ConstId, &[Product]> =
        products.iter().filter_map(|(place, products)| Some((weights(place)?, &products[..]))).collect();
    let mut tables = HashMap::new();
    for (function, graph) in module.functions.iter() {
        for id in graph.node_ids().filter(|&id| matches!(graph[id].op, Op::BitGather(_))) {
            let constant = graph[id].inputs.first().and_then(|&value| graph.constant(value));
            let Some(constant) = constant.filter(|constant| kernels.weights.contains_key(constant)) else { continue };
            let wrong =
                || Diagnostic::input("kernels::bind", "no product of one group reads the packed weights").at(graph[id].loc.to_string());
            let Some([product]) = by_weights.get(&constant) else { return Err(wrong().into()) };
            let levels = module.constants[constant].ty.elem.quant().ok_or_else(wrong)?.levels;
            tables.insert((function, id), Table::new(product, levels));
        }
    }
    Ok(tables)
}

/// The products of a node whose weights are packed.
fn bind(
    kernels: &Kernels,
    module: &Module,
    graph: &Graph,
    node: &Node,
    (level, code): (IsaLevel, &Code),
) -> Result<Option<Vec<Product>>, Report> {
    if matches!(node.op, Op::BitGather(_)) {
        return Ok(None);
    }
    let weights = node.inputs.get(1).and_then(|&value| graph.constant(value));
    let Some((id, packed)) = weights.and_then(|id| Some((id, kernels.weights.get(&id)?))) else { return Ok(None) };
    let wrong = |why: String| Report::from(Diagnostic::input("kernels::bind", why).at(node.loc.to_string()));
    let spec = kernel_of(node, module, id, packed.strategy, packed.scales)
        .ok_or_else(|| wrong(format!("{} has packed weights", node.op.name())))?;
    let function = code.kernel(&spec.symbol()).ok_or_else(|| wrong(format!("the kernel {spec} is missing")))?;
    let [n, k] = module.constants[id].dims()[..] else { return Err(wrong("packed weights are not a matrix".into())) };
    let groups = packed.groups;
    if groups == 0 || !n.is_multiple_of(groups) || !packed.bytes.len().is_multiple_of(groups) || groups != groups_of(&node.op) {
        return Err(wrong(format!("packed weights of {n} columns in {groups} groups")));
    }
    let size = packed.bytes.len() / groups;
    let product = |group: usize| {
        let bytes = packed.bytes.slice(group * size..(group + 1) * size);
        // SAFETY: the object defines this function for this description; `Loaded` keeps its code as long as the products.
        unsafe { Product::new(function, spec, (n / groups, k), bytes) }.map(|product| product.at_level(level))
    };
    (0..groups).map(product).collect::<Result<Vec<_>, _>>().map(Some).map_err(wrong)
}

/// The kernel of a `bit_matmul` or `bit_conv` with the weights `id`.
pub fn kernel_of(node: &Node, module: &Module, id: ConstId, strategy: Strategy, scales: ScaleFormat) -> Option<KernelSpec> {
    let quant = module.constants.get(id)?.ty.elem.quant()?;
    let (a_bits, a_levels, group) = match &node.op {
        Op::BitMatmul(op) => (op.a_bits, op.a_levels, op.a_group),
        Op::BitConv(op) => (op.a_bits, op.a_levels, None),
        _ => return None,
    };
    let product = (1..=8).contains(&a_bits).then(|| BitProduct::of(&quant, a_bits, a_levels)?.with_groups(group)).flatten()?;
    Some(KernelSpec::of(product, strategy, scales))
}

/// Groups of columns of a product.
pub fn groups_of(op: &Op) -> usize {
    match op {
        Op::BitConv(op) => usize::try_from(op.groups).unwrap_or(0),
        _ => 1,
    }
}
