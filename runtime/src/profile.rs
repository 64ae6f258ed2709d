//! Profiles: when every node ran and for how long, as a trace that Chrome and Perfetto show.

use crate::program::Program;
use mokume_ir::ids::{FuncId, NodeId};
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
        let (start_ns, duration_ns) = (start.duration_since(self.began).as_nanos() as u64, start.elapsed().as_nanos() as u64);
        self.events.push(Event { function, node, start_ns, duration_ns });
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

    #[test]
    fn text_is_escaped_for_json() {
        assert_eq!(escaped("a\"b\\\n"), "a\\\"b\\\\\\u000a");
    }
}
