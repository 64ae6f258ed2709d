//! Ids in range, definitions, use lists and cycles.

use super::{at_node, in_graph};
use crate::diag::Diagnostic;
use crate::graph::{Def, Graph, Module, Use};
use crate::ids::{Id, NodeId, ValueId};
use petgraph::algo::kosaraju_scc;
use std::collections::HashSet;

/// Checks every graph of the module, and that the entry exists.
pub fn check(module: &Module, findings: &mut Vec<Diagnostic>) {
    if module.functions.get(module.entry).is_none() {
        findings.push(Diagnostic::input("ir::function::entry", format!("the entry function {} does not exist", module.entry)));
    }
    for (_, graph) in module.functions.iter() {
        let before = findings.len();
        let structure = Structure { module, graph };
        structure.ids(findings);
        if findings.len() == before {
            structure.definitions(findings);
            structure.uses(findings);
        }
        if findings.len() == before {
            cycles(graph, findings);
        }
    }
}

struct Structure<'m> {
    module: &'m Module,
    graph: &'m Graph,
}

impl Structure<'_> {
    /// Every mentioned value exists, and is something live.
    fn ids(&self, findings: &mut Vec<Diagnostic>) {
        for id in self.graph.node_ids() {
            let node = &self.graph[id];
            let problems = node.inputs.iter().chain(&node.outputs).filter_map(|&value| self.problem(value));
            findings.extend(problems.map(|problem| at_node(self.graph, (id, node), "ir::value::unknown", problem)));
        }
        for port in self.graph.inputs().iter().chain(self.graph.outputs()) {
            if let Some(problem) = self.problem(port.value) {
                findings.push(in_graph(self.graph, "ir::value::unknown", format!("port \"{}\": {problem}", port.name)));
            }
        }
    }
    fn problem(&self, value: ValueId) -> Option<String> {
        if value.index() >= self.graph.value_bound() {
            return Some(format!("{value} does not exist"));
        }
        match self.graph[value].def {
            Def::Input(index) if self.graph.inputs().get(index as usize).is_none() => {
                Some(format!("{value} is input {index}, which does not exist"))
            }
            Def::Const(id) if self.module.constants.get(id).is_none() => {
                Some(format!("{value} is the constant {id}, which does not exist"))
            }
            Def::Node(id, _) if self.graph.node(id).is_none() => Some(format!("{value} comes from {id}, which was erased")),
            _ => None,
        }
    }
    /// A definition and its definer point at each other.
    fn definitions(&self, findings: &mut Vec<Diagnostic>) {
        for id in self.graph.node_ids() {
            let node = &self.graph[id];
            let outputs = node.outputs.iter().enumerate().map(|(i, &output)| (output, Some(Def::Node(id, i as u32))));
            let problems = node.inputs.iter().map(|&operand| (operand, None)).chain(outputs);
            let problems = problems.filter_map(|(value, def)| self.misdefined(value, def));
            findings.extend(problems.map(|problem| at_node(self.graph, (id, node), "ir::value::definition", problem)));
        }
        let outputs = self.graph.outputs().iter().map(|port| (port.value, None));
        let inputs = self.graph.inputs().iter().enumerate().map(|(i, port)| (port.value, Some(Def::Input(i as u32))));
        let problems = inputs.chain(outputs).filter_map(|(value, def)| self.misdefined(value, def));
        findings.extend(problems.map(|problem| in_graph(self.graph, "ir::value::definition", problem)));
    }
    /// What is wrong with the definition of a value: not the expected one, or not known to its definer.
    fn misdefined(&self, value: ValueId, expected: Option<Def>) -> Option<String> {
        let def = self.graph[value].def;
        let claimed = match def {
            Def::Input(index) => self.graph.inputs().get(index as usize).is_some_and(|port| port.value == value),
            Def::Const(_) => true,
            Def::Node(id, index) => self.graph.node(id).is_some_and(|node| node.outputs.get(index as usize) == Some(&value)),
        };
        (!claimed || expected.is_some_and(|expected| expected != def)).then(|| format!("{value} claims to be {def:?}"))
    }
    /// Use lists hold exactly what reads a value.
    fn uses(&self, findings: &mut Vec<Diagnostic>) {
        let mut unlisted = self.reads();
        for value in self.graph.value_ids() {
            for &usage in &self.graph[value].uses {
                if !unlisted.remove(&(value, usage)) {
                    findings.push(in_graph(self.graph, "ir::value::uses", format!("{value} is not read by {usage:?}, or listed twice")));
                }
            }
        }
        let mut unlisted: Vec<_> = unlisted.into_iter().map(|(value, usage)| (value, format!("{usage:?}"))).collect();
        unlisted.sort();
        let problems = unlisted.into_iter().map(|(value, usage)| format!("{value} does not know that {usage} reads it"));
        findings.extend(problems.map(|problem| in_graph(self.graph, "ir::value::uses", problem)));
    }
    /// Every operand and output.
    fn reads(&self) -> HashSet<(ValueId, Use)> {
        let operands = self.graph.node_ids().flat_map(|id| {
            let inputs = self.graph[id].inputs.iter().enumerate();
            inputs.map(move |(i, &value)| (value, Use::Operand(id, i as u32)))
        });
        let outputs = self.graph.outputs().iter().enumerate().map(|(i, port)| (port.value, Use::Output(i as u32)));
        operands.chain(outputs).collect()
    }
}

fn cycles(graph: &Graph, findings: &mut Vec<Diagnostic>) {
    for mut component in kosaraju_scc(graph) {
        component.sort();
        if component.len() > 1 || component.iter().any(|&id| reads_itself(graph, id)) {
            let names: Vec<String> = component.iter().take(8).map(|&id| format!("{id} ({})", graph[id])).collect();
            findings.push(in_graph(graph, "ir::graph::cycle", format!("nodes need each other: {}", names.join(", "))));
        }
    }
}

fn reads_itself(graph: &Graph, id: NodeId) -> bool {
    graph[id].inputs.iter().any(|&value| graph.producer(value).is_some_and(|(producer, _)| producer == id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConstId, FuncId};
    use crate::text::{no_data, parse};

    fn module() -> Module {
        let text = r#"module "m" graph @f0 "main"(%0 "x": tensor<f32>) -> ("y") {
            %1 = exp %0 : tensor<f32>
            %2 = add %1, %1 : tensor<f32>
            return %2
        }"#;
        parse(text, &no_data).unwrap()
    }

    /// The codes of what is wrong after `break_it` had its way.
    fn codes(break_it: impl Fn(&mut Graph)) -> Vec<&'static str> {
        let mut module = module();
        break_it(&mut module.functions[FuncId(0)]);
        let mut findings = Vec::new();
        check(&module, &mut findings);
        findings.iter().map(|finding| finding.code).collect()
    }

    fn node(graph: &mut Graph, id: u32) -> &mut crate::graph::Node {
        graph.nodes[NodeId(id)].as_mut().unwrap()
    }

    #[test]
    fn broken_structure_is_found() {
        assert_eq!(codes(|_| {}), Vec::<&str>::new());
        assert_eq!(codes(|graph| node(graph, 0).inputs[0] = ValueId(9)), ["ir::value::unknown"]);
        assert_eq!(codes(|graph| graph.values[ValueId(0)].def = Def::Const(ConstId(3))), ["ir::value::unknown"; 2]);
        assert_eq!(codes(|graph| graph.nodes[NodeId(0)] = None), ["ir::value::unknown"; 2]);
        assert_eq!(codes(|graph| graph.outputs[0].value = ValueId(1)), ["ir::value::uses"; 2]);
        assert_eq!(codes(|graph| graph.values[ValueId(1)].def = Def::Input(0))[0], "ir::value::definition");
        assert_eq!(codes(|graph| graph.values[ValueId(2)].uses.push(Use::Output(0))), ["ir::value::uses"]);
    }

    #[test]
    fn cycles_are_found() {
        let close = |graph: &mut Graph| {
            node(graph, 0).inputs[0] = ValueId(2);
            graph.values[ValueId(0)].uses.clear();
            graph.values[ValueId(2)].uses.push(Use::Operand(NodeId(0), 0));
        };
        assert_eq!(codes(close), ["ir::graph::cycle"]);
    }
}
