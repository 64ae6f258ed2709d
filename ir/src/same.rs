//! Structural equality of modules: equal up to the ids of functions, nodes, values and constants.

use crate::attr::Attr;
use crate::graph::{Graph, Module, Node};
use crate::ids::{FuncId, ValueId};
use crate::text::number::{FuncNumbers, Numbers};

impl Module {
    /// Whether two modules are equal up to ids; constants that nothing mentions do not count.
    pub fn same(&self, other: &Module) -> bool {
        self.difference(other).is_none()
    }
    /// The first difference to `other` up to ids, in words.
    pub fn difference(&self, other: &Module) -> Option<String> {
        let (a, b) = (Numbers::new(self), Numbers::new(other));
        let sides = Sides { a: Side { module: self, numbers: &a }, b: Side { module: other, numbers: &b } };
        sides.compare().err()
    }
}

#[derive(Clone, Copy)]
struct Side<'m> {
    module: &'m Module,
    numbers: &'m Numbers,
}

struct Sides<'m> {
    a: Side<'m>,
    b: Side<'m>,
}

impl Sides<'_> {
    fn compare(&self) -> Result<(), String> {
        let Sides { a, b } = self;
        equal("names of the modules", &a.module.name, &b.module.name)?;
        equal("constants", &a.constants(), &b.constants())?;
        equal("numbers of functions", a.numbers.functions.len(), b.numbers.functions.len())?;
        let pairs = a.numbers.functions.iter().zip(&b.numbers.functions);
        pairs.enumerate().try_for_each(|(i, (fa, fb))| self.function(fa, fb).map_err(|what| format!("@f{i}: {what}")))
    }
    fn function(&self, fa: &FuncNumbers, fb: &FuncNumbers) -> Result<(), String> {
        let (ga, gb) = (&self.a.module[fa.id], &self.b.module[fb.id]);
        equal("names", &ga.name, &gb.name)?;
        equal("states", &ga.states, &gb.states)?;
        equal("inputs", inputs(ga), inputs(gb))?;
        equal("numbers of nodes", fa.nodes.len(), fb.nodes.len())?;
        for (i, (na, nb)) in fa.nodes.iter().zip(&fb.nodes).enumerate() {
            self.node((fa, ga, &ga[*na]), (fb, gb, &gb[*nb])).map_err(|what| format!("node {i}: {what}"))?;
        }
        equal("outputs", self.a.outputs(fa, ga), self.b.outputs(fb, gb))
    }
    fn node(&self, (fa, ga, a): (&FuncNumbers, &Graph, &Node), (fb, gb, b): (&FuncNumbers, &Graph, &Node)) -> Result<(), String> {
        equal("ops", a.op.name(), b.op.name())?;
        equal("attributes", self.a.attrs(a), self.b.attrs(b))?;
        equal("operands", self.a.sources(fa, ga, &a.inputs), self.b.sources(fb, gb, &b.inputs))?;
        equal("provenances", &a.loc.names, &b.loc.names)?;
        let types = |graph: &Graph, node: &Node| node.outputs.iter().map(|&value| graph.ty(value).clone()).collect::<Vec<_>>();
        equal("types", types(ga, a), types(gb, b))
    }
}

impl Side<'_> {
    fn constants(&self) -> Vec<[u8; 32]> {
        self.numbers.constants.iter().map(|&id| self.module.constants[id].hash).collect()
    }
    /// What values are, in canonical numbers: constants or others.
    fn sources(&self, function: &FuncNumbers, graph: &Graph, values: &[ValueId]) -> Vec<Result<Option<u32>, u32>> {
        let source = |&value| function.source(graph, value).map(|constant| self.numbers.constant(constant));
        values.iter().map(source).collect()
    }
    fn outputs(&self, function: &FuncNumbers, graph: &Graph) -> Vec<(String, Result<Option<u32>, u32>)> {
        let values: Vec<ValueId> = graph.outputs().iter().map(|port| port.value).collect();
        let names = graph.outputs().iter().map(|port| port.name.clone());
        names.zip(self.sources(function, graph, &values)).collect()
    }
    fn attrs(&self, node: &Node) -> Vec<(&'static str, Exact)> {
        node.op.attrs().into_iter().map(|(name, attr)| (name, self.exact(attr))).collect()
    }
    fn exact(&self, attr: Attr) -> Exact {
        match attr {
            Attr::Float(value) => Exact::Float(value.to_bits()),
            Attr::Func(id) => Exact::Func(self.numbers.function(id).ok_or(id)),
            Attr::List(items) => Exact::List(items.into_iter().map(|item| self.exact(item)).collect()),
            other => Exact::Other(other),
        }
    }
}

/// An attribute compared exactly: floats by bits, functions by canonical number.
#[derive(Debug, PartialEq)]
enum Exact {
    Float(u32),
    Func(Result<u32, FuncId>),
    List(Vec<Exact>),
    Other(Attr),
}

fn inputs(graph: &Graph) -> Vec<(String, crate::types::Type)> {
    graph.inputs().iter().map(|port| (port.name.clone(), graph.ty(port.value).clone())).collect()
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, a: T, b: T) -> Result<(), String> {
    if a == b { Ok(()) } else { Err(format!("{what} differ: {a:?} and {b:?}")) }
}
