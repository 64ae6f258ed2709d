//! Golden files of passes: `.gir` modules whose first comments say which pipeline runs and how far outputs may move.
//!
//! ```text
//! // pass: canonicalize,dce
//! // tol: 1e-5            `exact`, a bound relative to the largest output, or `cosine 0.98`
//! // sizes: n=2, s=5      of symbols, 3 where nothing is said
//! // calibration: 2        sets of random inputs, none where nothing is said
//! ```

use mokume_ir::constant::Constant;
use mokume_ir::dim::Symbol;
use mokume_ir::graph::Module;
use mokume_ir::text::{no_data, parse, print, sidecar};
use mokume_ir::{random, verify::verify};
use mokume_passes::executor::{Executor, Named};
use mokume_passes::manager::{PipelineReport, run_pipeline};
use mokume_passes::pass::{PassContext, Quiet};
use mokume_passes::pipeline::Pipeline;
use similar::TextDiff;
use std::collections::HashMap;

/// What the comments of a golden file ask for.
struct Header {
    pipeline: String,
    tolerance: Tolerance,
    sizes: HashMap<String, i64>,
    calibration: u64,
}

/// How far outputs may move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Not at all.
    Exact,
    /// At most this, relative to the largest magnitude of the output.
    Within(f64),
    /// The cosine is at least this.
    Cosine(f64),
}

/// The snapshot of a golden file: how its pipeline changes the text, remarks, and a line of counts.
///
/// Errors  when the module is not valid before or after, does not read back, or computes something else after.
pub fn check_pass(text: &str, executor: &dyn Executor) -> Result<String, String> {
    let header = Header::read(text)?;
    let before = parse(text, &no_data).map_err(|report| report.to_string())?;
    check_module(&before)?;
    let mut after = before.clone();
    let sizes = |symbol: &Symbol| Some(header.sizes.get(symbol.name()).copied().unwrap_or(3));
    let calibration = (0..header.calibration).map(|seed| random::inputs(&before, 8 + seed, &sizes));
    let calibration = calibration.collect::<Option<_>>().ok_or("an input cannot be made at random")?;
    let report = run(&mut after, &header.pipeline, executor, calibration)?;
    check_module(&after)?;
    compare_runs(&before, &after, header.tolerance, &sizes, executor)?;
    Ok(snapshot(&before, &after, &report, header.tolerance))
}

impl Header {
    fn read(text: &str) -> Result<Self, String> {
        let comments = text.lines().map_while(|line| line.strip_prefix("// "));
        let fields: HashMap<&str, &str> = comments.filter_map(|line| line.split_once(':')).map(|(k, v)| (k, v.trim())).collect();
        let pipeline = fields.get("pass").ok_or("the file does not begin with `// pass: …`")?.to_string();
        let tolerance = Tolerance::read(fields.get("tol").ok_or("there is no `// tol: …`")?)?;
        let sizes = fields.get("sizes").map_or(Ok(HashMap::new()), |sizes| read_sizes(sizes))?;
        let calibration =
            fields.get("calibration").map_or(Ok(0), |count| count.parse().map_err(|_| format!("`{count}` is not a count")))?;
        Ok(Header { pipeline, tolerance, sizes, calibration })
    }
}

impl Tolerance {
    fn read(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is not a tolerance"));
        match text.strip_prefix("cosine ") {
            _ if text == "exact" => Ok(Tolerance::Exact),
            Some(cosine) => number(cosine).map(Tolerance::Cosine),
            None => number(text).map(Tolerance::Within),
        }
    }
}

impl std::fmt::Display for Tolerance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Tolerance::Exact => f.write_str("equal"),
            Tolerance::Within(bound) => write!(f, "within {bound:e}"),
            Tolerance::Cosine(cosine) => write!(f, "cosine at least {cosine}"),
        }
    }
}

fn read_sizes(text: &str) -> Result<HashMap<String, i64>, String> {
    let size = |item: &str| {
        let (name, size) = item.split_once('=')?;
        Some((name.trim().to_string(), size.trim().parse().ok()?))
    };
    text.split(',').map(|item| size(item).ok_or(format!("`{item}` is not a size"))).collect()
}

/// A module is valid, and its text reads back equal.
///
/// Errors  with what is wrong.
pub fn check_module(module: &Module) -> Result<(), String> {
    verify(module).map_err(|report| format!("{report}\n{}", print(module)))?;
    let text = print(module);
    let weights = sidecar::read(sidecar::write(module).to_bytes().into()).map_err(|report| report.to_string())?;
    let back = parse(&text, &|hash| weights.get(hash)).map_err(|report| format!("{report}\n{text}"))?;
    match module.difference(&back) {
        None => Ok(()),
        Some(difference) => Err(format!("the text does not read back equal: {difference}\n{text}")),
    }
}

/// Runs a pipeline that verifies after every pass.
///
/// Errors  with what is wrong.
pub fn run(module: &mut Module, pipeline: &str, executor: &dyn Executor, calibration: Vec<Named>) -> Result<PipelineReport, String> {
    let pipeline = Pipeline::parse(pipeline).map_err(|report| report.to_string())?;
    let mut quiet = Quiet;
    let mut cx = PassContext::new(executor, &mut quiet);
    cx.verify_each = true;
    cx.calibration = calibration;
    run_pipeline(module, &pipeline, &mut cx).map_err(|error| error.to_string())
}

/// Both modules give the same on the same random inputs; the second may give more.
///
/// Errors  with what differs, or when a run fails.
pub fn compare_runs(
    before: &Module,
    after: &Module,
    tolerance: Tolerance,
    sizes: &dyn Fn(&Symbol) -> Option<i64>,
    executor: &dyn Executor,
) -> Result<(), String> {
    let inputs = random::inputs(before, 7, sizes).ok_or("an input cannot be made at random")?;
    let given = before.main().states.is_empty();
    let run = |module: &Module, when| {
        let module = if given { stateless(module) } else { module.clone() };
        executor.run(&module, &inputs, &mut |_, _, _| ()).map_err(|error| format!("{when}: {error}\n{}", print(&module)))
    };
    let (wanted, found) = (run(before, "before")?, run(after, "after")?);
    compare(&wanted, &found, tolerance).map_err(|problem| format!("{problem}\nbefore:\n{}\nafter:\n{}", print(before), print(after)))
}

/// The module with its state given and taken by the user.
fn stateless(module: &Module) -> Module {
    let mut module = module.clone();
    module.functions[module.entry].states.clear();
    module
}

fn compare(wanted: &Named, found: &Named, tolerance: Tolerance) -> Result<(), String> {
    if found.len() < wanted.len() {
        return Err(format!("{} outputs became {}", wanted.len(), found.len()));
    }
    for ((name, wanted), (other, found)) in wanted.iter().zip(found) {
        if name != other || wanted.ty != found.ty {
            return Err(format!("\"{name}\", {}, became \"{other}\", {}", wanted.ty, found.ty));
        }
        compare_tensors(wanted, found, tolerance).map_err(|problem| format!("\"{name}\": {problem}"))?;
    }
    Ok(())
}

fn compare_tensors(wanted: &Constant, found: &Constant, tolerance: Tolerance) -> Result<(), String> {
    let exact = || if wanted.hash == found.hash { Ok(()) } else { Err("the outputs are not equal".to_string()) };
    let (Some(wanted), Some(found)) = (wanted.to_f32s(), found.to_f32s()) else { return exact() };
    match tolerance {
        Tolerance::Exact => exact(),
        Tolerance::Within(bound) => {
            let largest = wanted.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
            let worst = wanted.iter().zip(&found).map(|(a, b)| if a.to_bits() == b.to_bits() { 0.0 } else { (a - b).abs() });
            let worst =
                f64::from(worst.fold(0.0, |worst: f32, delta| if delta.is_nan() { f32::INFINITY } else { worst.max(delta) }) / largest);
            if worst <= bound { Ok(()) } else { Err(format!("the outputs differ by {worst:e} of the largest")) }
        }
        Tolerance::Cosine(bound) => {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let cosine = dot(&wanted, &found) / (dot(&wanted, &wanted) * dot(&found, &found)).sqrt().max(1e-30);
            if cosine >= bound { Ok(()) } else { Err(format!("the cosine of the outputs is {cosine}")) }
        }
    }
}

fn snapshot(before: &Module, after: &Module, report: &PipelineReport, tolerance: Tolerance) -> String {
    let (old, new) = (print(before), print(after));
    let diff = TextDiff::from_lines(&old, &new).unified_diff().context_radius(usize::MAX / 4).to_string();
    // The first line of a hunk counts lines.
    let mut lines: Vec<String> = diff.lines().filter(|line| !line.starts_with("@@")).map(str::to_string).collect();
    if lines.is_empty() {
        lines.push("unchanged".into());
    }
    lines.extend(report.passes.iter().flat_map(|pass| &pass.layers).map(|layer| format!("// layer: {layer}")));
    lines.extend(report.remarks().map(|remark| format!("// remark: {remark}")));
    let nodes = |module: &Module| module.functions.iter().map(|(_, graph)| graph.node_count()).sum::<usize>();
    lines.push(format!("edits: {}, nodes: {} -> {}, outputs: {tolerance}", report.edits(), nodes(before), nodes(after)));
    lines.join("\n")
}
