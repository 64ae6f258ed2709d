//! Messages to a [`Module`]: names are resolved, every node goes to the handler of its operator, findings are collected.
//!
//! A node whose handler fails is reported and its outputs are marked; nodes that depend on them are passed over, so that
//! one problem is one finding. Nodes that nothing reads are dropped at the end.

use super::attrs::Attrs;
use super::cx::{Bound, Cx, Fault};
use super::external::External;
use super::functions::{self, Library};
use super::ops;
use super::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use super::schedule::{schedule, subgraphs};
use super::tensor;
use super::types::{self, Missing, Symbols};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::loc::Loc;
use mokume_ir::types::{Shape, Type};
use std::collections::{HashMap, HashSet};

/// The newest IR version whose messages are known.
const NEWEST_IR: i64 = 14;
/// The newest version of the default operator set that the handlers were written for.
const NEWEST_OPSET: i64 = 28;
/// Most nodes after functions are inlined.
const NODE_LIMIT: usize = 1 << 20;

/// What names stand for.
pub type Scope = HashMap<String, Bound>;

/// Versions of operator sets by domain; the default domain is `""`.
#[derive(Debug, Clone, Default)]
pub struct Opsets(HashMap<String, i64>);

impl Opsets {
    /// From an import list.
    pub fn new(list: &[OperatorSetIdProto]) -> Self {
        Opsets(list.iter().map(|set| (default_domain(&set.domain).to_string(), set.version)).collect())
    }
    /// The version imported for a domain.
    pub fn version(&self, domain: &str) -> Option<i64> {
        self.0.get(default_domain(domain)).copied()
    }
}

fn default_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// A model as a module.
///
/// Errors  every finding.
pub fn import(model: &ModelProto, external: External, name: &str) -> Result<Module, Report> {
    let Some(graph) = &model.graph else {
        return Err(Diagnostic::input("onnx::file::not_onnx", "not an ONNX model: it holds no graph").into());
    };
    let mut importer = Importer::new(model, external);
    let opsets = Opsets::new(&model.opset_import);
    importer.check_versions(model, &opsets);
    importer.check_ops(&graph.node, &opsets);
    let mut module = Module::new(if graph.name.is_empty() { name } else { &graph.name });
    let entry = module.entry;
    importer.main(&mut Editor::new(&mut module, entry), graph, &opsets);
    match Report::from_findings(importer.findings) {
        Some(report) => Err(report),
        None => Ok(module),
    }
}

/// The state of one import.
pub struct Importer<'p> {
    /// Model-local functions.
    pub(super) library: Library<'p>,
    /// Where tensors lie outside the model.
    pub external: External,
    /// Symbols of dimensions.
    pub symbols: Symbols,
    /// What is wrong, in the order it was found.
    pub findings: Vec<Diagnostic>,
    /// Names of the calls that are being inlined.
    pub(super) calls: Vec<String>,
    nodes: usize,
}

impl<'p> Importer<'p> {
    fn new(model: &'p ModelProto, external: External) -> Self {
        Importer {
            library: Library::new(&model.functions),
            external,
            symbols: Symbols::default(),
            findings: Vec::new(),
            calls: Vec::new(),
            nodes: 0,
        }
    }
    fn check_versions(&mut self, model: &ModelProto, opsets: &Opsets) {
        if !(1..=NEWEST_IR).contains(&model.ir_version) {
            let message = format!("IR version {} is not known (1 to {NEWEST_IR} are)", model.ir_version);
            self.findings.push(Diagnostic::unsupported("onnx::model::ir_version", message));
        }
        let version = opsets.version("").unwrap_or(1);
        if !(1..=NEWEST_OPSET).contains(&version) {
            let message = format!("opset {version} of ai.onnx is not known (1 to {NEWEST_OPSET} are)");
            let finding = Diagnostic::unsupported("onnx::model::opset", message);
            self.findings.push(finding.help("convert the model with onnx.version_converter, or export it for an older opset"));
        }
    }
    /// Reports every node whose operator has no handler, in subgraphs and called functions too.
    fn check_ops(&mut self, nodes: &[NodeProto], opsets: &Opsets) {
        let mut called = HashSet::new();
        self.check_nodes(nodes, opsets, &mut called);
    }
    fn check_nodes(&mut self, nodes: &[NodeProto], opsets: &Opsets, called: &mut HashSet<functions::Key>) {
        for node in nodes {
            for graph in subgraphs(node) {
                self.check_nodes(&graph.node, opsets, called);
            }
            if let Some(function) = self.library.find(node) {
                if called.insert(functions::key(node)) {
                    self.check_nodes(&function.node, &Opsets::new(&function.opset_import), called);
                }
            } else if let Err(fault) = ops::find(default_domain(&node.domain), &node.op_type) {
                self.report(node, opsets, fault);
            }
        }
    }
    fn main(&mut self, ed: &mut Editor<'_>, graph: &GraphProto, opsets: &Opsets) {
        let mut scope = Scope::new();
        self.initializers(ed, graph, &mut scope);
        self.inputs(ed, graph, &mut scope);
        if self.nodes(ed, &graph.node, &mut scope, opsets) {
            self.outputs(ed, graph, &scope);
        }
        sweep(ed);
    }
    /// Binds the constants of a graph.
    pub fn initializers(&mut self, ed: &mut Editor<'_>, graph: &GraphProto, scope: &mut Scope) {
        for proto in &graph.initializer {
            let constant = tensor::constant(proto, &self.external);
            self.initializer(ed, &proto.name, constant, scope);
        }
        for proto in &graph.sparse_initializer {
            let name = proto.values.as_ref().map_or("", |values| &values.name);
            let constant = tensor::dense(proto, &self.external);
            self.initializer(ed, name, constant, scope);
        }
    }
    fn initializer(
        &mut self,
        ed: &mut Editor<'_>,
        name: &str,
        constant: Result<mokume_ir::constant::Constant, Diagnostic>,
        scope: &mut Scope,
    ) {
        let bound = match constant {
            Ok(constant) => ed.constant_value(constant).into(),
            Err(finding) => {
                self.findings.push(finding);
                Bound::Failed
            }
        };
        self.define(scope, name, bound);
    }
    /// Adds a name that must be new.
    fn define(&mut self, scope: &mut Scope, name: &str, bound: Bound) {
        if scope.insert(name.to_string(), bound).is_some() {
            let message = format!("\"{name}\" is defined more than once");
            self.findings.push(Diagnostic::input("onnx::graph::duplicate_name", message));
        }
    }
    fn inputs(&mut self, ed: &mut Editor<'_>, graph: &GraphProto, scope: &mut Scope) {
        let constants: HashSet<String> = scope.keys().cloned().collect();
        let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|input| !constants.contains(&input.name)).collect();
        let types: Vec<Option<Type>> = inputs.iter().map(|input| self.input_type(input)).collect();
        let bound = bound_symbols(&types);
        for (input, ty) in inputs.into_iter().zip(types) {
            let bound = match ty {
                Some(ty) => ed.add_input(&input.name, self.solvable(ty, &input.name, &bound)).into(),
                None => Bound::Failed,
            };
            self.define(scope, &input.name, bound);
        }
    }
    fn input_type(&mut self, input: &ValueInfoProto) -> Option<Type> {
        let ty = match &input.r#type {
            Some(proto) => types::type_of(proto, Missing::Named(&input.name), &mut self.symbols),
            None => Err(Diagnostic::input("onnx::type::missing", "the input has no type")),
        };
        let tensor = ty.and_then(|ty| match ty {
            Type::Tensor(_) => Ok(ty),
            _ => Err(Diagnostic::unsupported("onnx::type::unsupported", format!("an input of type {ty} is not supported"))),
        });
        tensor.map_err(|finding| self.findings.push(finding.at(format!("input \"{}\"", input.name)))).ok()
    }
    /// `ty` with expressions over symbols that no input binds replaced by symbols of their own.
    fn solvable(&mut self, ty: Type, name: &str, bound: &HashSet<String>) -> Type {
        let Type::Tensor(mut tensor) = ty else { return ty };
        if let Shape::Ranked(dims) = &mut tensor.shape {
            for (axis, dim) in dims.iter_mut().enumerate() {
                let mut known = true;
                dim.symbols(&mut |symbol| known &= bound.contains(symbol.name()));
                if !known {
                    *dim = self.symbols.fresh(&format!("{name}_{axis}")).into();
                }
            }
        }
        tensor.into()
    }
    /// Imports nodes into `ed`. False when their order could not be found.
    pub fn nodes(&mut self, ed: &mut Editor<'_>, nodes: &[NodeProto], scope: &mut Scope, opsets: &Opsets) -> bool {
        match schedule(nodes) {
            Ok(order) => {
                for position in order {
                    self.node(ed, &nodes[position], scope, opsets);
                }
                true
            }
            Err(cycle) => {
                let names: Vec<String> = cycle.iter().take(4).map(|&i| format!("\"{}\"", name_of(&nodes[i]))).collect();
                let message = format!("{} nodes are on or behind a cycle: {}", cycle.len(), names.join(", "));
                self.findings.push(Diagnostic::input("onnx::graph::cycle", message));
                false
            }
        }
    }
    fn node(&mut self, ed: &mut Editor<'_>, node: &NodeProto, scope: &mut Scope, opsets: &Opsets) {
        self.nodes += 1;
        let outcome = match self.nodes <= NODE_LIMIT {
            true => self.outcome(ed, node, scope, opsets),
            false => Err(Fault::Poisoned),
        };
        if self.nodes == NODE_LIMIT + 1 {
            let message = format!("the model has more than {NODE_LIMIT} nodes after inlining");
            self.findings.push(Diagnostic::unsupported("onnx::model::too_large", message));
        }
        let bounds = outcome.unwrap_or_else(|fault| {
            self.report(node, opsets, fault);
            vec![Bound::Failed; node.output.len()]
        });
        for (name, bound) in node.output.iter().zip(bounds).filter(|(name, _)| !name.is_empty()) {
            self.define(scope, name, bound);
        }
    }
    fn outcome(&mut self, ed: &mut Editor<'_>, node: &NodeProto, scope: &Scope, opsets: &Opsets) -> Result<Vec<Bound>, Fault> {
        let inputs = operands(node, scope)?;
        if let Some(function) = self.library.find(node) {
            return functions::inline(self, ed, node, function, inputs);
        }
        let domain = default_domain(&node.domain);
        let handler = ops::find(domain, &node.op_type).map_err(|_| Fault::Poisoned)?;
        let opset = opsets
            .version(domain)
            .ok_or_else(|| Fault::input(format!("the model does not say which version of \"{}\" it uses", ops::domain_name(domain))))?;
        let mut cx = Cx {
            attrs: Attrs::new(&node.attribute),
            opset,
            opsets,
            op_type: &node.op_type,
            outputs: node.output.iter().map(|name| !name.is_empty()).collect(),
            read: vec![false; inputs.len()],
            loc: self.loc(node),
            inputs,
            ed,
            importer: self,
            scope,
        };
        let outputs = handler(&mut cx)?;
        cx.check_complete(node, &outputs)?;
        Ok(outputs)
    }
    /// Provenance of a node: its name after the names of the calls it was inlined through.
    pub(super) fn loc(&self, node: &NodeProto) -> Loc {
        match self.calls.is_empty() {
            true => Loc::name(name_of(node)),
            false => Loc::name(format!("{}/{}", self.calls.join("/"), name_of(node))),
        }
    }
    fn report(&mut self, node: &NodeProto, opsets: &Opsets, fault: Fault) {
        let domain = default_domain(&node.domain);
        let version = opsets.version(domain).map_or("no opset".into(), |version| format!("opset {version}"));
        let what = format!("{} ({}, {version})", node.op_type, ops::domain_name(domain));
        let place = format!("node {}", self.loc(node));
        match fault {
            Fault::Poisoned => {}
            Fault::Findings(findings) => {
                self.findings.extend(findings.into_iter().map(|f| if f.place.is_some() { f } else { f.at(place.clone()) }))
            }
            Fault::Unsupported(why) => {
                self.findings.push(Diagnostic::unsupported("onnx::op::unsupported", format!("{what}: {why}")).at(place))
            }
            Fault::Input(why) => self.findings.push(Diagnostic::input("onnx::op::invalid", format!("{what}: {why}")).at(place)),
        }
    }
    fn outputs(&mut self, ed: &mut Editor<'_>, graph: &GraphProto, scope: &Scope) {
        let mut names = HashSet::new();
        for output in &graph.output {
            let found = match scope.get(&output.name) {
                Some(Bound::Value(value)) => self.check_output(ed.ty(*value), output).map(|()| ed.add_output(&output.name, *value)),
                Some(Bound::Failed) => Ok(()),
                Some(_) => Err(Diagnostic::unsupported("onnx::type::unsupported", "a sequence or optional as output is not supported")),
                None => Err(Diagnostic::input("onnx::graph::undefined_name", "no node gives this output")),
            };
            let found = match names.insert(&output.name) {
                true => found,
                false => Err(Diagnostic::input("onnx::graph::duplicate_name", "the output is listed twice")),
            };
            if let Err(finding) = found {
                self.findings.push(finding.at(format!("output \"{}\"", output.name)));
            }
        }
    }
    fn check_output(&mut self, ty: &Type, output: &ValueInfoProto) -> Result<(), Diagnostic> {
        let declared = output.r#type.as_ref().and_then(|proto| proto.tensor_type.as_ref());
        let declared = declared.filter(|tensor| tensor.elem_type != 0).map(|tensor| tensor::elem(tensor.elem_type)).transpose()?;
        match (declared, ty.elem()) {
            (Some(declared), Some(elem)) if declared != elem => {
                let message = format!("declared as {declared}, but the graph computes {elem}");
                Err(Diagnostic::input("onnx::type::mismatch", message))
            }
            _ => Ok(()),
        }
    }
}

fn operands(node: &NodeProto, scope: &Scope) -> Result<Vec<Option<Bound>>, Fault> {
    let given = node.input.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
    let bound = |name: &String| match (name.as_str(), scope.get(name)) {
        ("", _) | (_, Some(Bound::Absent)) => Ok(None),
        (_, Some(Bound::Failed)) => Err(Fault::Poisoned),
        (_, Some(bound)) => Ok(Some(bound.clone())),
        (_, None) => Err(Fault::input(format!("reads \"{name}\", which nothing defines"))),
    };
    node.input[..given].iter().map(bound).collect()
}

/// The user's name of a node, or that of its first output.
pub fn name_of(node: &NodeProto) -> &str {
    let output = node.output.iter().find(|name| !name.is_empty()).unwrap_or(&node.op_type);
    if node.name.is_empty() { output } else { &node.name }
}

/// Symbols that are the whole size of some input's axis.
fn bound_symbols(types: &[Option<Type>]) -> HashSet<String> {
    let dims = types.iter().flatten().filter_map(Type::dims).flatten();
    dims.filter_map(|dim| dim.as_symbol()).map(|symbol| symbol.name().to_string()).collect()
}

/// Drops nodes that nothing reads.
pub fn sweep(ed: &mut Editor<'_>) {
    let mut order = mokume_ir::order::order(ed);
    while let Some(id) = order.pop() {
        if ed[id].outputs.iter().all(|&output| ed[output].uses.is_empty()) {
            ed.erase(id);
        }
    }
}
