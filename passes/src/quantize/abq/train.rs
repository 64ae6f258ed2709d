//! The loop: teachers, students, steps.

use super::Abq;
use super::adam::Parameter;
use super::blocks::{Block, blocks};
use super::loss::Compared;
use super::peaks::Peaks;
use super::student::{Heads, Student};
use crate::executor::{Executor, Named};
use crate::grad::decompose::decompose;
use crate::grad::expr::{Builder, Expr};
use crate::grad::gradients;
use crate::pass::{PassContext, PassError};
use crate::quantize::calibrate::failed;
use crate::quantize::stream::segment::{port, segment};
use crate::quantize::stream::streams;
use mokume_ir::constant::Constant;
use mokume_ir::diag::Diagnostic;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::ids::ValueId;
use mokume_ir::loc::Loc;
use mokume_ir::op::Op;
use mokume_ir::order::order;
use mokume_ir::types::Elem;

/// Inputs of a student that hold what its teachers give.
const TARGETS: [&str; 3] = ["target.exact", "target.after", "target.attention"];

/// What a block learned.
pub struct Trained {
    /// Scales of the channels that queries, keys and values read.
    pub qkv: Vec<f32>,
    /// Scales of the channels that the MLP reads.
    pub mlp: Vec<f32>,
    /// Codes, scales and zero points of every product.
    pub weights: Vec<[Vec<f32>; 3]>,
    /// Squared distance of its outputs from those of the float model, over their squares.
    pub error: f64,
}

/// All samples before a block.
pub struct Training<'t> {
    options: &'t Abq,
    exact: &'t Module,
    blocks: &'t [Block],
    executor: &'t dyn Executor,
    /// The model's inputs.
    samples: Vec<Named>,
    /// The residual stream of the float model.
    float: Vec<Constant>,
    /// The residual stream as far as blocks are rounded.
    rounded: Vec<Constant>,
}

impl<'t> Training<'t> {
    /// Before the first block.
    ///
    /// Errors  when the samples do not run.
    pub fn new<'e: 't>(options: &'t Abq, exact: &'t Module, blocks: &'t [Block], cx: &PassContext<'e>) -> Result<Self, PassError> {
        let samples = cx.calibration.iter().map(|sample| renamed(exact, sample)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let begin = segment(exact, &inputs(exact), &[blocks[0].input], cx.executor).map_err(failed)?;
        let outputs = cx.executor.outputs_of_each(&begin, &samples).map_err(failed)?;
        let float: Vec<Constant> = outputs.into_iter().map(|mut outputs| outputs.remove(0).1).collect();
        Ok(Training { options, exact, blocks, executor: cx.executor, samples, rounded: float.clone(), float })
    }

    /// Trains block number `index` of the model, whose blocks before are rounded, and moves both streams behind it.
    ///
    /// Errors  when a sample does not run, or the weights do not fit the options.
    pub fn block(&mut self, index: usize, rounded: &Module, cx: &mut PassContext<'_>) -> Result<Trained, PassError> {
        let block = &self.blocks[index];
        let taught = self.teach(block)?;
        let mut student = self.student(index, rounded, &taught)?;
        let outputs = self.learn(index, &mut student, &taught, cx)?;
        let error = error(&outputs, &taught.exact);
        self.rounded = outputs;
        self.float = taught.exact.into_iter().map(|exact| exact.end).collect();
        student.trained(error)
    }

    /// What the float block gives on both streams.
    fn teach(&self, block: &Block) -> Result<Taught, PassError> {
        let wanted = [block.end, block.q.x, block.o.x, block.up.x, block.down.x];
        let mut teacher = self.part(self.exact, block, &wanted)?;
        let entry = teacher.entry;
        let editor = &mut Editor::new(&mut teacher, entry);
        let attention = written_out(editor)?;
        editor.add_output("attention", attention);
        let float = self.executor.outputs_of_each(&teacher, &self.given(block, &self.float)).map_err(failed)?;
        let plain = self.part(self.exact, block, &[block.end])?;
        let after = self.executor.outputs_of_each(&plain, &self.given(block, &self.rounded)).map_err(failed)?;
        let exact = float.into_iter().map(|mut outputs| {
            let attention = outputs.pop().map(|(_, tensor)| tensor);
            let mut seen = outputs.into_iter().map(|(_, tensor)| tensor);
            let mut next = || seen.next().unwrap_or_else(|| Constant::f32s(&[0], &[]));
            let (end, seen) = (next(), [next(), next(), next(), next()]);
            Exact { end, seen, attention: attention.unwrap_or_else(|| Constant::f32s(&[0], &[])) }
        });
        let after = after.into_iter().map(|mut outputs| outputs.remove(0).1).collect();
        Ok(Taught { exact: exact.collect(), after })
    }

    fn part(&self, module: &Module, block: &Block, wanted: &[ValueId]) -> Result<Module, PassError> {
        let others = inputs(module).into_iter().filter(|&input| input != block.input);
        let given: Vec<ValueId> = others.chain([block.input]).collect();
        Ok(segment(module, &given, wanted, self.executor).map_err(failed)?)
    }

    /// The samples with the stream before `block`.
    fn given(&self, block: &Block, stream: &[Constant]) -> Vec<Named> {
        let with = |(sample, stream): (&Named, &Constant)| {
            let others = sample.iter().filter(|(name, _)| *name != port(block.input));
            others.cloned().chain([(port(block.input), stream.clone())]).collect()
        };
        self.samples.iter().zip(stream).map(with).collect()
    }

    fn student(&self, index: usize, rounded: &Module, taught: &Taught) -> Result<Pupil, PassError> {
        let block = &self.blocks[index];
        let mut module = self.part(rounded, block, &[block.end])?;
        let entry = module.entry;
        let mut editor = Editor::new(&mut module, entry);
        let own = blocks(&editor).map_err(|why| Diagnostic::unsupported("abq::block", why))?.remove(0);
        let seen: Vec<[Constant; 4]> = taught.exact.iter().map(|exact| exact.seen.clone()).collect();
        let peaks = Peaks::new(&editor, &own, self.options.alpha as f32, &seen);
        let heads = Heads::of(&editor, &own).map_err(|why| Diagnostic::unsupported("abq::heads", why))?;
        let attention = written_out(&mut editor)?;
        self.check_groups(&own)?;
        let compensated = index < self.options.first || index + self.options.last >= self.blocks.len();
        let mut student =
            Student { editor: &mut editor, block: &own, heads, options: self.options, compensated, parameters: vec![], results: vec![] };
        student.build(&peaks)?;
        let (parameters, results) = (student.parameters, student.results);
        let training = self.with_loss(module.clone(), &parameters, attention)?;
        Ok(Pupil { results: with_results(&module, &results), training, plain: module, parameters, found: vec![] })
    }

    fn check_groups(&self, block: &Block) -> Result<(), PassError> {
        let uneven = block.sites().into_iter().find(|site| !site.cols.is_multiple_of(self.options.group_of(site)));
        uneven.map_or(Ok(()), |site| {
            let message = format!("rows of {} weights have no whole groups of {}", site.cols, self.options.group);
            Err(Diagnostic::input("abq::group", message).into())
        })
    }

    /// The student with its loss and gradients; its first output is its end.
    fn with_loss(&self, mut module: Module, parameters: &[Parameter], attention: ValueId) -> Result<Module, PassError> {
        let entry = module.entry;
        let editor = &mut Editor::new(&mut module, entry);
        let output = editor.outputs()[0].value;
        let types = [output, output, attention].map(|like| editor.ty(like).clone());
        let mut target =
            TARGETS.iter().zip(types).map(|(name, ty)| Expr::from(editor.add_input(*name, ty))).collect::<Vec<_>>().into_iter();
        let mut next = || target.next().unwrap_or_else(|| output.into());
        let targets = [next(), next()];
        let compared = Compared { output: output.into(), targets, attention: attention.into(), target_attention: next() };
        let loss = Builder::new(editor, Elem::F32, Loc::default()).build(&compared.loss(self.options))?;
        editor.add_output("loss", loss);
        let learned: Vec<ValueId> = parameters.iter().filter_map(|parameter| input(editor, &parameter.name)).collect();
        for (parameter, gradient) in parameters.iter().zip(gradients(editor, loss, &learned, true)?) {
            editor.add_output(gradient_of(&parameter.name), gradient);
        }
        Ok(module)
    }

    /// Trains; gives what the student makes of every sample in the end.
    fn learn(&self, index: usize, pupil: &mut Pupil, taught: &Taught, cx: &mut PassContext<'_>) -> Result<Vec<Constant>, PassError> {
        let given = self.given(&self.blocks[index], &self.rounded);
        let (epochs, total) = (self.options.epochs, self.options.epochs * self.blocks.len());
        let mut run = self.executor.prepare(&pupil.training).map_err(failed)?;
        for epoch in 0..epochs {
            cx.progress(index * epochs + epoch, total);
            for (sample, given) in given.iter().enumerate() {
                let exact = &taught.exact[sample];
                let targets = [&exact.end, &taught.after[sample], &exact.attention];
                let targets = TARGETS.iter().zip(targets).map(|(name, tensor)| (name.to_string(), tensor.clone()));
                let inputs: Named = given.iter().cloned().chain(targets).chain(pupil.parameters.iter().map(Parameter::named)).collect();
                let outputs = run(&inputs).map_err(failed)?;
                for parameter in &mut pupil.parameters {
                    parameter.step(&named(&outputs, &gradient_of(&parameter.name)).to_f32s().unwrap_or_default());
                }
            }
        }
        drop(run);
        let with = |given: &Named| -> Named { given.iter().cloned().chain(pupil.parameters.iter().map(Parameter::named)).collect() };
        let given: Vec<Named> = given.iter().map(with).collect();
        let ends = self.executor.outputs_of_each(&pupil.plain, &given).map_err(failed)?;
        pupil.found = self.executor.outputs(&pupil.results, &given[0]).map_err(failed)?;
        Ok(ends.into_iter().map(|mut outputs| outputs.remove(0).1).collect())
    }
}

/// Squared distance from what the float model gives, over its squares.
fn error(outputs: &[Constant], exact: &[Exact]) -> f64 {
    let (mut distance, mut square) = (0f64, 0f64);
    for (output, exact) in outputs.iter().zip(exact) {
        let (y, t) = (output.to_f32s().unwrap_or_default(), exact.end.to_f32s().unwrap_or_default());
        distance += y.iter().zip(&t).map(|(y, t)| f64::from(y - t).powi(2)).sum::<f64>();
        square += t.iter().map(|t| f64::from(*t).powi(2)).sum::<f64>();
    }
    distance / square.max(f64::MIN_POSITIVE)
}

/// What the float model gives at a block, of every sample.
struct Taught {
    exact: Vec<Exact>,
    /// Outputs on the rounded stream.
    after: Vec<Constant>,
}

/// Of one sample on the float stream.
struct Exact {
    end: Constant,
    /// What q, o, up and down read.
    seen: [Constant; 4],
    attention: Constant,
}

/// A block that is trained.
struct Pupil {
    /// Gives what it makes, its loss and its gradients.
    training: Module,
    /// Gives what it makes.
    plain: Module,
    /// Gives what it makes, and codes, scales and zero points of every product.
    results: Module,
    parameters: Vec<Parameter>,
    /// What `results` gave in the end.
    found: Named,
}

impl Pupil {
    fn trained(self, error: f64) -> Result<Trained, PassError> {
        let learned =
            |name: &str| self.parameters.iter().find(|parameter| parameter.name == name).map(|parameter| parameter.values.clone());
        let floats = |(_, tensor): &(String, Constant)| tensor.to_f32s().unwrap_or_default();
        let weights = self.found[1..].chunks_exact(3).map(|result| [floats(&result[0]), floats(&result[1]), floats(&result[2])]);
        let weights: Vec<_> = weights.collect();
        if weights.iter().flatten().flatten().any(|number| !number.is_finite()) {
            let message = "training gave numbers that are not finite";
            return Err(Diagnostic::input("abq::diverged", message).help("choose smaller rates: scale_rate, clip_rate").into());
        }
        Ok(Trained { qkv: learned("s_qkv").unwrap_or_default(), mlp: learned("s_mlp").unwrap_or_default(), weights, error })
    }
}

/// The values of the model's inputs.
fn inputs(module: &Module) -> Vec<ValueId> {
    module.main().inputs().iter().map(|port| port.value).collect()
}

fn input(editor: &Editor<'_>, name: &str) -> Option<ValueId> {
    editor.inputs().iter().find(|port| port.name == name).map(|port| port.value)
}

/// A sample by the names that parts have for the model's inputs; states begin empty.
fn renamed(module: &Module, sample: &Named) -> Result<Named, String> {
    let values = streams::inputs(module, sample)?;
    Ok(inputs(module).into_iter().filter_map(|value| Some((port(value), values.get(&value)?.clone()))).collect())
}

fn named<'n>(outputs: &'n Named, name: &str) -> &'n Constant {
    outputs.iter().find(|(output, _)| output == name).map_or(&outputs[0].1, |(_, tensor)| tensor)
}

fn gradient_of(name: &str) -> String {
    format!("grad({name})")
}

/// Writes attention out; gives its probabilities.
fn written_out(editor: &mut Editor<'_>) -> Result<ValueId, PassError> {
    for id in order(editor).into_iter().filter(|&id| matches!(editor[id].op, Op::Attention(_))).collect::<Vec<_>>() {
        decompose(editor, id)?.map_err(|why| Diagnostic::unsupported("abq::attention", why))?;
    }
    let softmax = order(editor).into_iter().find(|&id| matches!(editor[id].op, Op::Softmax(_)));
    let missing = || Diagnostic::unsupported("abq::attention", "a block has no attention");
    Ok(editor[softmax.ok_or_else(missing)?].outputs[0])
}

/// The module with outputs for the results of all products.
fn with_results(module: &Module, results: &[[ValueId; 3]]) -> Module {
    let mut module = module.clone();
    let entry = module.entry;
    let editor = &mut Editor::new(&mut module, entry);
    results.iter().flatten().enumerate().for_each(|(index, &value)| editor.add_output(format!("result.{index}"), value));
    module
}
