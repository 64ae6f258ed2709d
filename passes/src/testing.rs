//! Help for unit tests: pipelines on modules written as text.

use crate::executor::{Executor, Named, NoExecutor};
use crate::manager::run_pipeline;
use crate::pass::{PassContext, Quiet, Remark};
use crate::pipeline::Pipeline;
use mokume_ir::graph::Module;
use mokume_ir::text::{self, no_data};
use mokume_ir::verify::verify;

/// The module that `text` describes; the constants in it are written out.
pub(crate) fn module(text: &str) -> Module {
    let module = text::parse(text, &no_data).unwrap_or_else(|report| panic!("{report}"));
    verify(&module).map(|_| ()).unwrap_or_else(|report| panic!("{report}"));
    module
}

/// The text of `module` after `pipeline`, and the remarks. Every pass must leave a valid module.
pub(crate) fn run(module: &mut Module, pipeline: &str, executor: &dyn Executor, calibration: Vec<Named>) -> (String, Vec<Remark>) {
    let mut quiet = Quiet;
    let mut cx = PassContext::new(executor, &mut quiet);
    (cx.verify_each, cx.calibration) = (true, calibration);
    let pipeline = Pipeline::parse(pipeline).unwrap_or_else(|report| panic!("{report}"));
    let report = run_pipeline(module, &pipeline, &mut cx).unwrap_or_else(|error| panic!("{error}"));
    (text::print(module), report.remarks().cloned().collect())
}

/// The nodes of `text` after `pipeline`: one line each, without types and names.
pub(crate) fn nodes(text: &str, pipeline: &str) -> String {
    let (printed, _) = run(&mut module(text), pipeline, &NoExecutor, vec![]);
    let nodes = printed.lines().filter(|line| line.trim_start().starts_with('%') || line.contains("return"));
    let bare = nodes.map(|line| line.split(" : ").next().unwrap_or(line).trim());
    bare.collect::<Vec<_>>().join("\n")
}
