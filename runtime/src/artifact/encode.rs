//! A module as a manifest and data sections. Renumbers: equal graphs give equal bytes.

use super::container::{Kind, Section};
use super::dense;
use super::manifest::{self as m, AttrValue, Place, TypeForm};
use crate::cpu::kernels::PackedWeights;
use crate::gpu::code::DeviceWeights;
use crate::program::Program;
use bytes::Bytes;
use mokume_ir::attr::Attr;
use mokume_ir::constant::Constant;
use mokume_ir::dim::{Atom, Dim};
use mokume_ir::graph::{Def, Graph, Node};
use mokume_ir::ids::{ConstId, Id, NodeId, ValueId};
use mokume_ir::op::Op;
use mokume_ir::order::order;
use mokume_ir::quant::{Granularity, QuantType};
use mokume_ir::types::{Elem, Shape, Type};
use std::collections::HashMap;

/// Data up to this many bytes stays in the manifest.
const INLINE: usize = 128;

/// Builds the manifest; collects the sections it refers to, of which the first is the manifest itself.
#[derive(Default)]
pub(crate) struct Encoder {
    sections: Vec<Section>,
    constants: Vec<m::Constant>,
    constant_index: HashMap<ConstId, u32>,
}

impl Encoder {
    /// The manifest of a program.
    pub(crate) fn program(&mut self, program: &Program) -> m::Manifest {
        let module = &program.module;
        let functions = module.functions.iter().map(|(_, graph)| self.function(program, graph)).collect();
        let objects = program.kernels().objects.iter();
        let objects =
            objects.map(|(level, code)| m::Object { level: level.name().into(), section: self.section(Kind::Code, code.clone()) });
        let objects = objects.collect();
        let ptx = program.kernels().device.ptx.iter();
        let ptx = ptx.map(|(arch, text)| m::Ptx { arch: arch.name().into(), section: self.section(Kind::Code, text.clone()) });
        m::Manifest {
            objects,
            ptx: ptx.collect(),
            gpu_tuning: program.kernels().device.tuning.to_string(),
            name: module.name.clone(),
            functions,
            entry: module.entry.index() as u32,
            constants: std::mem::take(&mut self.constants),
        }
    }
    /// Every section, the manifest first.
    pub(crate) fn sections(self, manifest: Bytes) -> Vec<Section> {
        let mut sections = vec![Section { kind: Kind::Manifest, bytes: manifest }];
        sections.extend(self.sections);
        sections
    }
    /// Adds a section; gives its number.
    pub(crate) fn section(&mut self, kind: Kind, bytes: Bytes) -> u32 {
        self.sections.push(Section { kind, bytes });
        self.sections.len() as u32
    }
    /// Data, in the manifest when short.
    pub(crate) fn data(&mut self, bytes: &Bytes) -> m::Data {
        let place = match bytes.len() {
            ..=INLINE => Place::Inline(bytes.clone()),
            _ => Place::Section(self.section(Kind::Data, bytes.clone())),
        };
        m::Data { place: Some(place) }
    }

    fn constant(&mut self, program: &Program, id: ConstId) -> u32 {
        if let Some(&index) = self.constant_index.get(&id) {
            return index;
        }
        let kernels = program.kernels();
        let mut encoded = self.encode_constant(&program.module.constants[id], kernels.weights.get(&id));
        encoded.device = kernels.device.weights.get(&id).map(|packed| self.encode_device(packed));
        let index = self.constants.len() as u32;
        self.constants.push(encoded);
        self.constant_index.insert(id, index);
        index
    }
    fn encode_constant(&mut self, constant: &Constant, packed: Option<&PackedWeights>) -> m::Constant {
        let dims = constant.dims();
        let packed = packed.map(|packed| self.encode_packed(packed));
        m::Constant {
            dims: dims.iter().map(|&dim| dim as u64).collect(),
            elem: Some(elem(constant.ty.elem)),
            hash: Bytes::copy_from_slice(&constant.hash),
            data: (!constant.is_released()).then(|| self.data(&constant.data)),
            scales: constant.quant.as_ref().map(|quant| self.data(&quant.scales)),
            zero_points: constant.quant.as_ref().map(|quant| self.data(&quant.zero_points)),
            packed,
            device: None,
        }
    }
    fn encode_packed(&mut self, packed: &PackedWeights) -> m::Packed {
        let shrunk = packed.dense.and_then(|dense| Some((dense, dense::shrink(packed, dense)?)));
        let data = shrunk.as_ref().map_or(&packed.bytes, |(_, bytes)| bytes);
        m::Packed {
            strategy: packed.strategy.name().into(),
            scales: packed.scales.name().into(),
            groups: packed.groups as u32,
            data: Some(self.data(data)),
            dense: shrunk.as_ref().map(|(dense, _)| m::Dense {
                levels: dense.levels.name().into(),
                tile: dense.tile as u64,
                head: dense.head as u64,
            }),
        }
    }
    fn encode_device(&mut self, packed: &DeviceWeights) -> m::DevicePacked {
        m::DevicePacked {
            planes: Some(self.data(&packed.planes)),
            scales: Some(self.data(&packed.scales)),
            zeros: Some(self.data(&packed.zeros)),
            sums: Some(self.data(&packed.sums)),
        }
    }

    fn function(&mut self, program: &Program, graph: &Graph) -> m::Function {
        let nodes = order(graph);
        let (constants, values) = self.number(program, graph, &nodes);
        let inputs = graph.inputs().iter().map(|port| m::Input { name: port.name.clone(), ty: Some(ty(graph.ty(port.value))) });
        let outputs = graph.outputs().iter().map(|port| m::Output { name: port.name.clone(), value: values[&port.value] });
        let states = graph.states.iter().map(|state| m::State { input: state.input, output: state.output, axis: state.axis });
        m::Function {
            name: graph.name.clone(),
            inputs: inputs.collect(),
            constants,
            nodes: nodes.iter().map(|&id| node(graph, &graph[id], &values)).collect(),
            outputs: outputs.collect(),
            states: states.collect(),
        }
    }
    /// Numbers of the values, and the constants among them in order of first use.
    fn number(&mut self, program: &Program, graph: &Graph, nodes: &[NodeId]) -> (Vec<u32>, HashMap<ValueId, u32>) {
        let operands = nodes.iter().flat_map(|&id| graph[id].inputs.iter().copied());
        let read = operands.chain(graph.outputs().iter().map(|port| port.value));
        let mut constants = Vec::new();
        let mut values: HashMap<_, _> = graph.inputs().iter().zip(0..).map(|(port, number)| (port.value, number)).collect();
        for value in read {
            if let Def::Const(id) = graph[value].def
                && !values.contains_key(&value)
            {
                values.insert(value, values.len() as u32);
                constants.push(self.constant(program, id));
            }
        }
        for &output in nodes.iter().flat_map(|&id| &graph[id].outputs) {
            values.insert(output, values.len() as u32);
        }
        (constants, values)
    }
}

fn node(graph: &Graph, node: &Node, values: &HashMap<ValueId, u32>) -> m::Node {
    m::Node {
        op: node.op.name().into(),
        attrs: attrs(&node.op),
        inputs: node.inputs.iter().map(|value| values[value]).collect(),
        outputs: node.outputs.iter().map(|&value| ty(graph.ty(value))).collect(),
        names: node.loc.names.iter().map(|name| name.to_string()).collect(),
    }
}

fn attrs(op: &Op) -> Vec<m::NamedAttr> {
    op.attrs().into_iter().map(|(name, value)| m::NamedAttr { name: name.into(), attr: Some(attr(&value)) }).collect()
}

fn attr(value: &Attr) -> m::Attr {
    let value = match value {
        Attr::Bool(value) => AttrValue::Bool(*value),
        Attr::Int(value) => AttrValue::Int(*value),
        Attr::Float(value) => AttrValue::Float(value.to_bits()),
        Attr::Str(text) => AttrValue::Str(text.clone()),
        Attr::Word(word) => AttrValue::Word(word.clone()),
        Attr::Dim(value) => AttrValue::Dim(dim(value)),
        Attr::List(items) => AttrValue::List(m::AttrList { items: items.iter().map(attr).collect() }),
        Attr::Elem(value) => AttrValue::Elem(elem(*value)),
        Attr::Quant(value) => AttrValue::Elem(elem(Elem::Quant(*value))),
        Attr::Func(function) => AttrValue::Func(function.0),
        Attr::Operand(index) => AttrValue::Operand(*index),
    };
    m::Attr { value: Some(value) }
}

fn ty(value: &Type) -> m::Type {
    let form = match value {
        Type::Tensor(tensor) => TypeForm::Tensor(m::TensorType {
            elem: Some(elem(tensor.elem)),
            ranked: matches!(tensor.shape, Shape::Ranked(_)),
            dims: tensor.shape.dims().unwrap_or(&[]).iter().map(dim).collect(),
        }),
        Type::Seq(inner) => TypeForm::Seq(Box::new(ty(inner))),
        Type::Opt(inner) => TypeForm::Opt(Box::new(ty(inner))),
    };
    m::Type { form: Some(form) }
}

fn elem(value: Elem) -> m::Elem {
    match value {
        Elem::Quant(value) => m::Elem { name: String::new(), quant: Some(quant(value)) },
        plain => m::Elem { name: plain.name().into(), quant: None },
    }
}

fn quant(value: QuantType) -> m::Quant {
    let granularity = match value.granularity {
        Granularity::Tensor | Granularity::Row => vec![],
        Granularity::Axis(axis) => vec![axis],
        Granularity::RowBlock(size) => vec![size],
        Granularity::Block { axis, along, size } => vec![axis, along, size],
    };
    m::Quant {
        bits: value.bits.into(),
        levels: value.levels.name().into(),
        granularity,
        per_row: matches!(value.granularity, Granularity::Row | Granularity::RowBlock(_)),
        zero_point: value.zero_point,
    }
}

fn dim(value: &Dim) -> m::Dim {
    let atom = |atom: &Atom| match atom {
        Atom::Symbol(symbol) => m::Atom { name: symbol.name().into(), arguments: vec![] },
        Atom::Call(function, a, b) => m::Atom { name: function.name().into(), arguments: vec![dim(a), dim(b)] },
    };
    let terms = value.terms().into_iter();
    m::Dim { terms: terms.map(|term| m::Term { coefficient: term.coefficient, atoms: term.atoms.iter().map(atom).collect() }).collect() }
}
