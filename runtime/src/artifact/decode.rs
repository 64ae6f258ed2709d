//! A manifest and data sections as a module. Checks what the IR presupposes: numbers in range, known words; the rest is the
//! verifier's.

use super::container::{Kind, Section};
use super::dense;
use super::manifest::{self as m, AttrValue, Place, TypeForm};
use crate::cpu::isa::IsaLevel;
use crate::cpu::kernels::{Dense, Kernels, PackedWeights};
use crate::cpu::spec::{ScaleFormat, Strategy};
use crate::gpu::arch::Arch;
use crate::gpu::code::DeviceWeights;
use crate::gpu::tuning::Tuning;
use bytes::Bytes;
use mokume_ir::attr::Attr;
use mokume_ir::constant::{Constant, QuantData};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::dim::{Dim, DimFn};
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module, State};
use mokume_ir::ids::{ConstId, FuncId, Id, ValueId};
use mokume_ir::loc::Loc;
use mokume_ir::op::Op;
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::{Elem, Shape, TensorType, Type};
use std::sync::Arc;

/// The sections that a manifest refers to.
pub(crate) struct Decoder<'s> {
    sections: &'s [Section],
}

/// Bytes of a tile at most.
const MAX_TILE: usize = 1 << 40;

/// What is wrong with a part of the manifest.
type Wrong = String;

impl<'s> Decoder<'s> {
    pub(crate) fn new(sections: &'s [Section]) -> Self {
        Decoder { sections }
    }
    /// The module.
    ///
    /// Errors  naming the function, node or constant that is wrong.
    pub(crate) fn module(&self, manifest: &m::Manifest) -> Result<Module, Report> {
        self.try_module(manifest).map_err(broken)
    }
    /// The kernels.
    ///
    /// Errors  naming the object or constant that is wrong.
    pub(crate) fn kernels(&self, manifest: &m::Manifest) -> Result<Kernels, Report> {
        self.try_kernels(manifest).map_err(broken)
    }
    fn try_kernels(&self, manifest: &m::Manifest) -> Result<Kernels, Wrong> {
        let mut kernels = Kernels::default();
        for object in &manifest.objects {
            let level = IsaLevel::from_name(&object.level).ok_or_else(|| format!("there is no level `{}`", object.level))?;
            kernels.objects.push((level, self.section(object.section, Kind::Code)?));
        }
        for ptx in &manifest.ptx {
            let arch = Arch::from_name(&ptx.arch).ok_or_else(|| format!("there is no GPU architecture `{}`", ptx.arch))?;
            let text = self.section(ptx.section, Kind::Code)?;
            std::str::from_utf8(&text).map_err(|_| format!("the PTX for {arch} is no text"))?;
            kernels.device.ptx.push((arch, text));
        }
        kernels.device.tuning = Tuning::parse(&manifest.gpu_tuning).map_err(|wrong| format!("the tuning table, {wrong}"))?;
        for (index, packed) in manifest.constants.iter().enumerate().filter_map(|(index, c)| Some((index, c.device.as_ref()?))) {
            let packed = self.device_packed(packed).map_err(|wrong| format!("constant {index}: {wrong}"))?;
            kernels.device.weights.insert(ConstId::from_index(index), packed);
        }
        for (index, packed) in manifest.constants.iter().enumerate().filter_map(|(index, c)| Some((index, c.packed.as_ref()?))) {
            let packed = self.packed(packed).map_err(|wrong| format!("constant {index}: {wrong}"))?;
            kernels.weights.insert(ConstId::from_index(index), packed);
        }
        Ok(kernels)
    }
    fn packed(&self, packed: &m::Packed) -> Result<PackedWeights, Wrong> {
        let strategy = Strategy::from_name(&packed.strategy).ok_or_else(|| format!("there is no strategy `{}`", packed.strategy))?;
        let scales = ScaleFormat::from_name(&packed.scales).ok_or_else(|| format!("there is no format of scales `{}`", packed.scales))?;
        let bytes = self.data(packed.data.as_ref().ok_or("no packed weights")?, Kind::Data)?;
        let dense = packed.dense.as_ref().map(dense_form).transpose()?;
        let bytes = match dense {
            Some(dense) => dense::expand(&bytes, strategy, dense).map_err(|wrong| format!("packed weights: {wrong}"))?,
            None => bytes,
        };
        Ok(PackedWeights { strategy, scales, groups: packed.groups as usize, dense, bytes })
    }
    fn device_packed(&self, packed: &m::DevicePacked) -> Result<DeviceWeights, Wrong> {
        let data = |data: &Option<m::Data>| self.data(data.as_ref().ok_or("a part of the weights for GPUs is missing")?, Kind::Data);
        let [planes, scales, zeros, sums] = [&packed.planes, &packed.scales, &packed.zeros, &packed.sums].map(data);
        Ok(DeviceWeights { planes: planes?, scales: scales?, zeros: zeros?, sums: sums? })
    }
    fn section(&self, number: u32, kind: Kind) -> Result<Bytes, Wrong> {
        let section = self.sections.get(number as usize).filter(|section| section.kind == kind);
        section.map(|section| section.bytes.clone()).ok_or_else(|| format!("section {number} does not exist or is of another kind"))
    }
    fn try_module(&self, manifest: &m::Manifest) -> Result<Module, Wrong> {
        let mut module = Module::new(&manifest.name);
        module.functions = Default::default();
        for function in &manifest.functions {
            module.functions.push(Graph::new(&function.name));
        }
        if manifest.entry as usize >= manifest.functions.len() {
            return Err(format!("the entry function {} of {} does not exist", manifest.entry, manifest.functions.len()));
        }
        module.entry = FuncId(manifest.entry);
        for (index, constant) in manifest.constants.iter().enumerate() {
            let constant = self.constant(constant).map_err(|wrong| format!("constant {index}: {wrong}"))?;
            if module.constants.intern(constant).index() != index {
                return Err(format!("constant {index}: stored twice"));
            }
        }
        for (index, function) in manifest.functions.iter().enumerate() {
            let mut builder = Builder::new(&mut module, FuncId::from_index(index));
            builder.function(function).map_err(|wrong| format!("function \"{}\": {wrong}", function.name))?;
        }
        Ok(module)
    }
    /// The bytes of a kind that `data` refers to.
    pub(crate) fn data(&self, data: &m::Data, kind: Kind) -> Result<Bytes, Wrong> {
        match data.place.as_ref().ok_or("no data")? {
            Place::Inline(bytes) => Ok(bytes.clone()),
            Place::Section(number) => self.section(*number, kind),
        }
    }
    fn constant(&self, constant: &m::Constant) -> Result<Constant, Wrong> {
        let dims = constant.dims.iter().map(|&dim| usize::try_from(dim)).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        let elem = elem(constant.elem.as_ref())?;
        let hash = constant.hash[..].try_into().map_err(|_| "a hash has 32 bytes")?;
        let data = match &constant.data {
            Some(data) => self.data(data, Kind::Data)?,
            None => Bytes::new(),
        };
        let quant = constant.scales.as_ref().map(|scales| self.quant_data(scales, constant.zero_points.as_ref())).transpose()?;
        Ok(Constant { ty: TensorType::new(Shape::known(&dims), elem), data, quant, hash })
    }
    fn quant_data(&self, scales: &m::Data, zero_points: Option<&m::Data>) -> Result<QuantData, Wrong> {
        let zero_points = zero_points.map_or(Ok(Bytes::new()), |data| self.data(data, Kind::Data))?;
        Ok(QuantData { scales: self.data(scales, Kind::Data)?, zero_points })
    }
}

fn dense_form(dense: &m::Dense) -> Result<Dense, Wrong> {
    let levels = Levels::from_name(&dense.levels).filter(|levels| matches!(levels, Levels::Five | Levels::Ternary));
    let levels = levels.ok_or_else(|| format!("there are no dense levels `{}`", dense.levels))?;
    let size = |size: u64| usize::try_from(size).ok().filter(|&size| size <= MAX_TILE).ok_or("a tile is too large");
    let (tile, head) = (size(dense.tile)?, size(dense.head)?);
    if head > tile { Err(format!("a tile of {tile} bytes has a head of {head}")) } else { Ok(Dense { levels, tile, head }) }
}

/// The finding that the manifest is wrong.
pub(crate) fn broken(wrong: Wrong) -> Report {
    Diagnostic::input("artifact::manifest", format!("the manifest is broken: {wrong}")).into()
}

/// Builds a function.
struct Builder<'m> {
    editor: Editor<'m>,
    functions: usize,
    constants: usize,
    values: Vec<ValueId>,
}

impl<'m> Builder<'m> {
    fn new(module: &'m mut Module, function: FuncId) -> Self {
        let (functions, constants) = (module.functions.len(), module.constants.iter().count());
        Builder { editor: Editor::new(module, function), functions, constants, values: vec![] }
    }
    fn function(&mut self, function: &m::Function) -> Result<(), Wrong> {
        for input in &function.inputs {
            let ty = ty(input.ty.as_ref()).map_err(|wrong| format!("input \"{}\": {wrong}", input.name))?;
            self.values.push(self.editor.add_input(&input.name, ty));
        }
        for &constant in &function.constants {
            if constant as usize >= self.constants {
                return Err(format!("constant {constant} does not exist"));
            }
            self.values.push(self.editor.const_id_value(ConstId(constant)));
        }
        for (index, node) in function.nodes.iter().enumerate() {
            self.node(node).map_err(|wrong| format!("node {index} ({}): {wrong}", node.op))?;
        }
        for output in &function.outputs {
            let value = self.value(output.value).map_err(|wrong| format!("output \"{}\": {wrong}", output.name))?;
            self.editor.add_output(&output.name, value);
        }
        function.states.iter().try_for_each(|state| self.state(state, function))
    }
    fn value(&self, number: u32) -> Result<ValueId, Wrong> {
        self.values.get(number as usize).copied().ok_or_else(|| format!("value {number} does not exist yet"))
    }
    fn state(&mut self, state: &m::State, function: &m::Function) -> Result<(), Wrong> {
        if state.input as usize >= function.inputs.len() || state.output as usize >= function.outputs.len() {
            return Err(format!("state of input {} and output {}, which do not exist", state.input, state.output));
        }
        self.editor.declare_state(State { input: state.input, output: state.output, axis: state.axis });
        Ok(())
    }
    fn node(&mut self, node: &m::Node) -> Result<(), Wrong> {
        let attrs = node.attrs.iter().map(|named| {
            let value = self.attr(named.attr.as_ref()).map_err(|wrong| format!("attribute `{}`: {wrong}", named.name))?;
            Ok((named.name.clone(), value))
        });
        let attrs = attrs.collect::<Result<Vec<_>, Wrong>>()?;
        let op = Op::from_attrs(&node.op, &attrs).map_err(|error| error.to_string())?;
        let inputs = node.inputs.iter().map(|&number| self.value(number)).collect::<Result<Vec<_>, _>>()?;
        let types = node.outputs.iter().map(|output| ty(Some(output))).collect::<Result<Vec<_>, _>>()?;
        let loc = Loc { names: node.names.iter().map(|name| Arc::from(name.as_str())).collect() };
        let id = self.editor.insert_typed(op, &inputs, types, loc);
        self.values.extend(&self.editor[id].outputs);
        Ok(())
    }
    fn attr(&self, attr: Option<&m::Attr>) -> Result<Attr, Wrong> {
        Ok(match attr.and_then(|attr| attr.value.as_ref()).ok_or("no value")? {
            AttrValue::Bool(value) => Attr::Bool(*value),
            AttrValue::Int(value) => Attr::Int(*value),
            AttrValue::Float(bits) => Attr::Float(f32::from_bits(*bits)),
            AttrValue::Str(text) => Attr::Str(text.clone()),
            AttrValue::Word(word) => Attr::Word(word.clone()),
            AttrValue::Dim(value) => Attr::Dim(dim(value)?),
            AttrValue::List(list) => Attr::List(list.items.iter().map(|item| self.attr(Some(item))).collect::<Result<_, _>>()?),
            AttrValue::Elem(value) => match elem(Some(value))? {
                Elem::Quant(quant) => Attr::Quant(quant),
                plain => Attr::Elem(plain),
            },
            AttrValue::Func(function) if (*function as usize) < self.functions => Attr::Func(FuncId(*function)),
            AttrValue::Func(function) => return Err(format!("function {function} does not exist")),
            AttrValue::Operand(index) => Attr::Operand(*index),
        })
    }
}

fn ty(value: Option<&m::Type>) -> Result<Type, Wrong> {
    Ok(match value.and_then(|ty| ty.form.as_ref()).ok_or("no type")? {
        TypeForm::Tensor(tensor) => {
            let dims = tensor.dims.iter().map(dim).collect::<Result<Vec<_>, _>>()?;
            Type::tensor(if tensor.ranked { Shape::Ranked(dims) } else { Shape::Unranked }, elem(tensor.elem.as_ref())?)
        }
        TypeForm::Seq(inner) => Type::Seq(Box::new(ty(Some(inner))?)),
        TypeForm::Opt(inner) => Type::Opt(Box::new(ty(Some(inner))?)),
    })
}

fn elem(value: Option<&m::Elem>) -> Result<Elem, Wrong> {
    let value = value.ok_or("no element type")?;
    match &value.quant {
        Some(value) => quant(value).map(Elem::Quant),
        None => Elem::from_name(&value.name).ok_or_else(|| format!("there is no element type `{}`", value.name)),
    }
}

fn quant(value: &m::Quant) -> Result<QuantType, Wrong> {
    let levels = Levels::from_name(&value.levels).ok_or_else(|| format!("there are no levels `{}`", value.levels))?;
    let granularity = match (&value.granularity[..], value.per_row) {
        ([], false) => Granularity::Tensor,
        ([], true) => Granularity::Row,
        ([size], true) => Granularity::RowBlock(*size),
        ([axis], false) => Granularity::Axis(*axis),
        ([axis, along, size], false) => Granularity::Block { axis: *axis, along: *along, size: *size },
        _ => return Err("an unknown granularity".into()),
    };
    let bits = u8::try_from(value.bits).unwrap_or(0);
    let quant = QuantType { bits, levels, granularity, zero_point: value.zero_point };
    if bits == 0 || !quant.is_valid() {
        return Err(format!("{} levels do not have {} bits", levels.name(), value.bits));
    }
    Ok(quant)
}

fn dim(value: &m::Dim) -> Result<Dim, Wrong> {
    value.terms.iter().try_fold(Dim::from(0i64), |sum, term| {
        let product =
            term.atoms.iter().try_fold(Dim::from(term.coefficient), |product, value| Ok::<_, Wrong>(product.times(&atom(value)?)))?;
        Ok(sum.plus(&product))
    })
}

fn atom(value: &m::Atom) -> Result<Dim, Wrong> {
    match &value.arguments[..] {
        [] => Ok(Dim::symbol(&value.name)),
        [a, b] => {
            let function = DimFn::from_name(&value.name).ok_or_else(|| format!("there is no function `{}` of dimensions", value.name))?;
            Ok(dim(a)?.call(function, &dim(b)?))
        }
        _ => Err(format!("`{}` takes two dimensions", value.name)),
    }
}
