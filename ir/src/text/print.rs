//! Prints a module; see [`text`](super) for the form.

use super::number::{FuncNumbers, Numbers};
use super::{Quoted, elements, hex};
use crate::attr::Attr;
use crate::constant::Constant;
use crate::graph::{Graph, Module, Node, Port};
use crate::ids::{ConstId, ValueId};
use crate::loc::Loc;
use std::fmt::Write;

/// Longer graph headers take one line per port.
const WIDTH: usize = 140;

/// The canonical text of a module. Equal modules have equal texts, whatever their ids.
pub fn print(module: &Module) -> String {
    let numbers = Numbers::new(module);
    let mut printer = Printer { module, numbers: &numbers, text: String::new() };
    printer.line(format_args!("module {}", Quoted(&module.name)));
    printer.constants();
    numbers.functions.iter().for_each(|function| printer.function(function));
    printer.text
}

struct Printer<'m> {
    module: &'m Module,
    numbers: &'m Numbers,
    text: String,
}

impl Printer<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
    fn constants(&mut self) {
        for (i, &id) in self.numbers.constants.iter().enumerate() {
            if i == 0 {
                self.text.push('\n');
            }
            if let Some(constant) = self.module.constants.get(id) {
                self.line(format_args!("const @{i} : {} = {}", constant.ty, contents(constant)));
            }
        }
    }
    fn function(&mut self, function: &FuncNumbers) {
        let graph = &self.module[function.id];
        self.text.push('\n');
        let header = self.header(function, graph);
        self.line(format_args!("{header}"));
        for &node in &function.nodes {
            let node = self.node(function, graph, &graph[node]);
            self.line(format_args!("  {node}"));
        }
        let outputs = join(graph.outputs().iter().map(|port| self.operand(function, graph, port.value)));
        self.line(format_args!("  return{}{outputs}", if outputs.is_empty() { "" } else { " " }));
        self.line(format_args!("}}"));
    }
    fn header(&self, function: &FuncNumbers, graph: &Graph) -> String {
        let number = self.numbers.function(function.id).unwrap_or(function.id.0);
        let inputs: Vec<String> = graph.inputs().iter().map(|port| input(function, graph, port)).collect();
        let outputs: Vec<String> = graph.outputs().iter().map(|port| Quoted(&port.name).to_string()).collect();
        let states: Vec<String> = states(graph);
        let header = |list: &dyn Fn(&[String]) -> String| {
            let state = if states.is_empty() { String::new() } else { format!(" state({})", list(&states)) };
            format!("graph @f{number} {}({}) -> ({}){state} {{", Quoted(&graph.name), list(&inputs), list(&outputs))
        };
        let short = header(&|items| items.join(", "));
        if short.chars().count() <= WIDTH { short } else { header(&|items| broken(items)) }
    }
    fn node(&self, function: &FuncNumbers, graph: &Graph, node: &Node) -> String {
        let mut line = String::new();
        if !node.outputs.is_empty() {
            line += &join(node.outputs.iter().map(|&value| format!("%{}", function.value(value))));
            line += " = ";
        }
        line += node.op.name();
        if !node.inputs.is_empty() {
            line.push(' ');
            line += &join(node.inputs.iter().map(|&value| self.operand(function, graph, value)));
        }
        let attrs = node.op.attrs();
        if !attrs.is_empty() {
            line += &format!(" {{{}}}", join(attrs.iter().map(|(name, attr)| format!("{name} = {}", self.attr(attr)))));
        }
        line += &format!(" : {}{}", types(graph, node), loc(&node.loc));
        line
    }
    fn operand(&self, function: &FuncNumbers, graph: &Graph, value: ValueId) -> String {
        match function.source(graph, value) {
            Ok(constant) => format!("@{}", self.constant_number(constant)),
            Err(number) => format!("%{number}"),
        }
    }
    fn constant_number(&self, id: ConstId) -> u32 {
        self.numbers.constant(id).unwrap_or(id.0)
    }
    fn attr(&self, attr: &Attr) -> String {
        match attr {
            Attr::Bool(value) => value.to_string(),
            Attr::Int(value) => value.to_string(),
            Attr::Float(value) => elements::float32(*value),
            Attr::Str(value) => Quoted(value).to_string(),
            Attr::Word(word) => word.clone(),
            Attr::Dim(dim) => dim.to_string(),
            Attr::List(items) => format!("[{}]", join(items.iter().map(|item| self.attr(item)))),
            Attr::Elem(elem) => elem.to_string(),
            Attr::Quant(quant) => quant.to_string(),
            // A function that does not exist prints past the existing ones.
            Attr::Func(id) => format!("@f{}", self.numbers.function(*id).unwrap_or(self.numbers.functions.len() as u32 + id.0)),
            Attr::Operand(index) => format!("operand({index})"),
        }
    }
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn broken(items: &[String]) -> String {
    match items {
        [] => String::new(),
        _ => format!("\n  {}\n", items.join(",\n  ")),
    }
}

fn contents(constant: &Constant) -> String {
    elements::print(constant).unwrap_or_else(|| format!("blake3\"{}\"", hex(&constant.hash)))
}

fn input(function: &FuncNumbers, graph: &Graph, port: &Port) -> String {
    format!("%{} {}: {}", function.value(port.value), Quoted(&port.name), graph.ty(port.value))
}

fn states(graph: &Graph) -> Vec<String> {
    let state = graph.states.iter().map(|state| {
        let axis = state.axis.map_or(String::new(), |axis| format!(" axis {axis}"));
        format!("{} <- {}{axis}", port(graph.inputs(), state.input), port(graph.outputs(), state.output))
    });
    state.collect()
}

/// A port by name, or by position where the name does not say which.
fn port(ports: &[Port], index: u32) -> String {
    match ports.get(index as usize) {
        Some(port) if ports.iter().filter(|other| other.name == port.name).count() == 1 => Quoted(&port.name).to_string(),
        _ => format!("#{index}"),
    }
}

fn types(graph: &Graph, node: &Node) -> String {
    match node.outputs[..] {
        [only] => graph.ty(only).to_string(),
        _ => format!("({})", join(node.outputs.iter().map(|&value| graph.ty(value).to_string()))),
    }
}

fn loc(loc: &Loc) -> String {
    match &loc.names[..] {
        [] => String::new(),
        names => format!(" loc({})", join(names.iter().map(|name| Quoted(name).to_string()))),
    }
}
