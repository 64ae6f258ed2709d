//! Profiles: when every node ran and for how long, as a trace that Chrome and Perfetto show, or summed by op.

use crate::program::Program;
use mokume_ir::ids::{FuncId, NodeId};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

/// One node that ran; calls, branches and loops enclose the nodes they ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The function.
    pub function: FuncId,
    /// The node.
    pub node: NodeId,
    /// Nanoseconds from the beginning of the run.
    pub start_ns: u64,
    /// Nanoseconds it took.
    pub duration_ns: u64,
}

/// Collects events of one run.
pub(crate) struct Recorder {
    began: Instant,
    pub(crate) events: Vec<Event>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Recorder { began: Instant::now(), events: vec![] }
    }
    /// Adds a node that began at `start`.
    pub(crate) fn add(&mut self, function: FuncId, node: NodeId, start: Instant) {
        self.add_times(function, node, self.at_ns(start), start.elapsed().as_nanos() as u64);
    }
    /// Adds a node whose times, from the beginning of the run, are known.
    pub(crate) fn add_times(&mut self, function: FuncId, node: NodeId, start_ns: u64, duration_ns: u64) {
        self.events.push(Event { function, node, start_ns, duration_ns });
    }
    /// Nanoseconds from the beginning of the run to `moment`.
    pub(crate) fn at_ns(&self, moment: Instant) -> u64 {
        moment.duration_since(self.began).as_nanos() as u64
    }
    /// Nanoseconds since the beginning of the run.
    pub(crate) fn now_ns(&self) -> u64 {
        self.at_ns(Instant::now())
    }
}

/// The events as Chrome trace JSON; nodes carry op, provenance and id.
pub fn chrome_trace(program: &Program, events: &[Event]) -> String {
    let mut json = String::from("{\"traceEvents\":[");
    for (i, event) in events.iter().enumerate() {
        let Some(node) = program.module.functions.get(event.function).and_then(|graph| graph.node(event.node)) else { continue };
        let (start, duration) = (event.start_ns as f64 / 1e3, event.duration_ns as f64 / 1e3);
        let separator = if i == 0 { "" } else { "," };
        let loc = escaped(&node.loc.to_string());
        let written = write!(
            json,
            "{separator}\n{{\"name\":\"{}\",\"ph\":\"X\",\"pid\":0,\"tid\":0,\"ts\":{start:.3},\"dur\":{duration:.3},\
             \"args\":{{\"loc\":\"{loc}\",\"node\":\"{}\"}}}}",
            node.op.name(),
            event.node
        );
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }
    json.push_str("\n]}\n");
    json
}

/// What all nodes of an op took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpTime {
    /// The op.
    pub op: &'static str,
    /// How often it ran.
    pub count: usize,
    /// Nanoseconds, without the nodes that it ran itself, as calls and loops do.
    pub self_ns: u64,
}

/// The time of every op, longest first.
pub fn by_op(program: &Program, events: &[Event]) -> Vec<OpTime> {
    let op_of = |event: &Event| Some(program.module.functions.get(event.function)?.node(event.node)?.op.name());
    let mut ordered: Vec<&Event> = events.iter().collect();
    ordered.sort_by_key(|event| (event.start_ns, Reverse(event.duration_ns)));
    let mut sums: BTreeMap<&'static str, (usize, i64)> = BTreeMap::new();
    let mut around: Vec<(u64, &'static str)> = Vec::new();
    for event in ordered {
        let Some(op) = op_of(event) else { continue };
        around.retain(|&(end_ns, _)| end_ns > event.start_ns);
        if let Some(sum) = around.last().and_then(|(_, outer)| sums.get_mut(outer)) {
            sum.1 -= event.duration_ns as i64;
        }
        let sum = sums.entry(op).or_default();
        *sum = (sum.0 + 1, sum.1 + event.duration_ns as i64);
        around.push((event.start_ns + event.duration_ns, op));
    }
    let mut times: Vec<_> = sums.into_iter().map(|(op, (count, ns))| OpTime { op, count, self_ns: ns.max(0) as u64 }).collect();
    times.sort_by_key(|time| Reverse(time.self_ns));
    times
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\\' => escaped.extend(['\\', letter]),
            control if u32::from(control) < 0x20 => escaped.push_str(&format!("\\u{:04x}", u32::from(control))),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use mokume_ir::edit::Editor;
    use mokume_ir::graph::Module;
    use mokume_ir::loc::Loc;
    use mokume_ir::op::{Op, UnaryKind};
    use mokume_ir::types::{Elem, Shape, Type};

    #[test]
    fn text_is_escaped_for_json() {
        assert_eq!(escaped("a\"b\\\n"), "a\\\"b\\\\\\u000a");
    }

    #[test]
    fn the_time_of_inner_nodes_is_not_counted_twice() {
        let mut module = Module::new("m");
        let function = module.entry;
        let mut editor = Editor::new(&mut module, function);
        let ty = Type::tensor(Shape::known(&[1]), Elem::F32);
        let x = editor.add_input("x", ty.clone());
        let nodes =
            [UnaryKind::Exp, UnaryKind::Neg].map(|kind| editor.insert_typed(Op::Unary(kind), &[x], vec![ty.clone()], Loc::default()));
        let event = |node, start_ns, duration_ns| Event { function, node, start_ns, duration_ns };
        let events = [event(nodes[1], 10, 20), event(nodes[1], 40, 30), event(nodes[0], 0, 100), event(nodes[1], 100, 5)];
        let times = by_op(&Program::interpret(module), &events);
        let time = |op, count, self_ns| OpTime { op, count, self_ns };
        assert_eq!(times, [time("neg", 3, 55), time("exp", 1, 50)]);
    }
}
