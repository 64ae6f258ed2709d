//! Rounding with calibration data in parts: what runs in parts equals what runs at once, whatever the number of threads, and
//! however often it is stopped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume::driver::executor::RuntimeExecutor;
use mokume::driver::{compile, source};
use mokume_frontends::onnx;
use mokume_ir::constant::Constant;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Def, Module};
use mokume_ir::ids::{FuncId, NodeId};
use mokume_ir::order::order;
use mokume_ir::text::print;
use mokume_passes::checkpoint::Checkpoint;
use mokume_passes::executor::{Executor, Named};
use mokume_passes::layer::LayerReport;
use mokume_passes::manager::{PipelineReport, run_pipeline};
use mokume_passes::pass::{PassContext, Quiet};
use mokume_passes::pipeline::Pipeline;
use mokume_passes::quantize::sites;
use mokume_passes::quantize::stream::cuts::cuts;
use mokume_passes::quantize::stream::streams::Streams;
use mokume_runtime::convert::to_constant;
use mokume_runtime::tensor::Tensor;
use mokume_tests::llama::{STORIES, windows};
use mokume_tests::models::{Model, home, models};
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Mutex;

const EXECUTOR: RuntimeExecutor = RuntimeExecutor { threads: 2 };
const MODELS: [&str; 12] = [
    "audio_crepe_tiny",
    "basic_pitch",
    "ddddocr",
    "diff_sddpm_unet28",
    "llama_stories260k",
    "magika",
    "minilm",
    "ppocr_det",
    "ppocr_rec",
    "silero_vad",
    "smollm2_past",
    "sr_imdn_x4",
];
const PIPELINE: &str = "quantize{w=3,a=8,group=16,rounder=measured}";

fn llama() -> Module {
    canonical(onnx::import_bytes(STORIES.model().encode_to_vec().into(), None).unwrap_or_else(|report| panic!("{report}")))
}

fn canonical(mut module: Module) -> Module {
    run(&mut module, &compile::pipeline(None, Some("float")).unwrap().to_string(), &Setting::default()).unwrap();
    module
}

/// What a pipeline is given beside the module.
struct Setting<'s> {
    calibration: Vec<Named>,
    checkpoint: Option<&'s dyn Checkpoint>,
    threads: usize,
    edit_limit: Option<usize>,
}

impl Default for Setting<'_> {
    fn default() -> Self {
        Setting { calibration: vec![], checkpoint: None, threads: 2, edit_limit: None }
    }
}

fn run(module: &mut Module, pipeline: &str, setting: &Setting<'_>) -> Result<PipelineReport, String> {
    let executor = RuntimeExecutor { threads: setting.threads };
    let mut quiet = Quiet;
    let mut cx = PassContext::new(&executor, &mut quiet);
    (cx.verify_each, cx.calibration, cx.checkpoint) = (true, setting.calibration.clone(), setting.checkpoint);
    cx.edit_limit = setting.edit_limit;
    run_pipeline(module, &Pipeline::parse(pipeline).unwrap(), &mut cx).map_err(|error| error.to_string())
}

/// The module after a pipeline, as text, and its layers.
fn rounded(module: &Module, pipeline: &str, setting: &Setting<'_>) -> (String, Vec<LayerReport>, Vec<String>) {
    let mut module = module.clone();
    let report = run(&mut module, pipeline, setting).unwrap_or_else(|error| panic!("{error}"));
    let remarks = report.remarks().map(|remark| remark.to_string()).collect();
    (print(&module), report.passes.into_iter().flat_map(|pass| pass.layers).collect(), remarks)
}

#[test]
fn every_layer_is_measured() {
    let (module, setting) = (llama(), Setting { calibration: windows(5), ..Setting::default() });
    for options in ["w=4,group=32", "w=3,a=4,levels=odd,a_levels=signed", "w=4,a=16,symmetric=false,group=16"] {
        let (_, none, _) = rounded(&module, &format!("quantize{{{options}}}"), &setting);
        let (_, layers, _) = rounded(&module, &format!("quantize{{{options},rounder=measured}}"), &setting);
        assert_eq!((none.len(), layers.len()), (0, 5 * 7 + 1));
        assert!(layers.iter().all(|layer| layer.loss > 0.0 && layer.loss < 1.0 && layer.heldout.is_some()), "{layers:?}");
    }
}

#[test]
fn threads_do_not_change_the_bytes() {
    let module = llama();
    for rounder in ["gptq", "soft"] {
        let pipeline = format!("quantize{{w=3,a=8,group=16,rounder={rounder}}}");
        let with = |threads: usize| {
            let setting = Setting { calibration: windows(5), threads, ..Setting::default() };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| rounded(&module, &pipeline, &setting))
        };
        let one = with(1);
        assert!(one == with(2) && one == with(5), "{rounder}");
    }
}

/// The outputs of the whole model move less when codes are chosen for them than when every number is rounded by itself.
#[test]
fn calibrated_codes_are_better_than_the_nearest() {
    let (module, setting) = (llama(), Setting { calibration: windows(12), ..Setting::default() });
    let judged = &windows(16)[12..];
    let logits = |module: &Module| -> Vec<f32> {
        let outputs = judged.iter().flat_map(|sample| EXECUTOR.outputs(module, sample).unwrap());
        outputs.flat_map(|(_, logits)| logits.to_f32s().unwrap()).collect()
    };
    let exact = logits(&module);
    let error = |rounder: &str| {
        let mut copy = module.clone();
        run(&mut copy, &format!("quantize{{w=3,a=8,group=32,rounder={rounder}}}"), &setting).unwrap_or_else(|error| panic!("{error}"));
        exact.iter().zip(logits(&copy)).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let nearest = error("nearest");
    for rounder in ["descent", "gptq", "soft"] {
        let found = error(rounder);
        assert!(found < nearest, "{rounder}: {found} against {nearest}");
    }
}

/// A checkpoint in memory that is full after a number of files.
#[derive(Default)]
struct Shelf {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    room: usize,
}

impl Shelf {
    fn count(&self) -> usize {
        self.files.lock().unwrap().len()
    }
}

impl Checkpoint for Shelf {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Report> {
        Ok(self.files.lock().unwrap().get(name).cloned())
    }
    fn store(&self, name: &str, data: &[u8]) -> Result<(), Report> {
        if self.count() >= self.room {
            return Err(Diagnostic::input("test::full", "the shelf is full").into());
        }
        self.files.lock().unwrap().insert(name.to_string(), data.to_vec());
        Ok(())
    }
}

#[test]
fn stopped_anywhere_it_goes_on_and_gives_the_same_bytes() {
    let (module, calibration) = (llama(), windows(4));
    let whole = rounded(&module, PIPELINE, &Setting { calibration: calibration.clone(), ..Setting::default() });
    let mut shelf = Shelf::default();
    for room in [0, 1, 4, 9, 20] {
        shelf.room = room;
        let setting = Setting { calibration: calibration.clone(), checkpoint: Some(&shelf), ..Setting::default() };
        let error = run(&mut module.clone(), PIPELINE, &setting).unwrap_err();
        assert!(error.contains("the shelf is full"), "{error}");
        assert_eq!(shelf.count(), room, "a group is kept when it is done");
    }
    shelf.room = usize::MAX;
    let setting = Setting { calibration: calibration.clone(), checkpoint: Some(&shelf), ..Setting::default() };
    assert!(rounded(&module, PIPELINE, &setting) == whole, "resumed");
    assert_eq!(shelf.count(), 5 * 4 + 1);
    assert!(rounded(&module, PIPELINE, &setting) == whole, "loaded altogether");
    let limited = Setting { edit_limit: Some(11), calibration, checkpoint: Some(&shelf), ..Setting::default() };
    assert!(rounded(&module, PIPELINE, &limited).0 != whole.0, "an edit limit stops it");
}

#[test]
fn what_is_damaged_is_computed_again_and_what_is_of_another_job_is_not_used() {
    let (module, calibration) = (llama(), windows(4));
    let shelf = Shelf { room: usize::MAX, ..Shelf::default() };
    let setting = Setting { calibration, checkpoint: Some(&shelf), ..Setting::default() };
    let whole = rounded(&module, PIPELINE, &setting);
    let names: Vec<String> = shelf.files.lock().unwrap().keys().cloned().collect();
    for (index, damage) in [|data: &mut Vec<u8>| data[900] ^= 4, |data: &mut Vec<u8>| data.truncate(20), |data: &mut Vec<u8>| data.clear()]
        .into_iter()
        .enumerate()
    {
        damage(shelf.files.lock().unwrap().get_mut(&names[5 * index]).unwrap());
    }
    let again = rounded(&module, PIPELINE, &setting);
    assert!((&again.0, &again.1) == (&whole.0, &whole.1));
    let damaged = again.2.iter().filter(|remark| remark.contains("in the checkpoint is damaged: it is computed again"));
    assert_eq!(damaged.count(), 3, "{:?}", again.2);
    assert!(rounded(&module, PIPELINE, &setting) == whole, "it is whole again");
    rounded(&module, "quantize{w=3,a=8,group=32,rounder=measured}", &setting);
    rounded(&module, PIPELINE, &Setting { calibration: windows(5), checkpoint: Some(&shelf), ..Setting::default() });
    assert_eq!(shelf.count(), 3 * names.len(), "other options and other data have files of their own");
}

#[test]
fn without_calibration_data_it_says_what_to_pass() {
    let error = |pipeline| run(&mut llama(), pipeline, &Setting::default()).unwrap_err();
    let uncalibrated = error(PIPELINE);
    assert!(
        uncalibrated.contains("needs calibration data for rounder=measured") && uncalibrated.contains("--calib FILE"),
        "{uncalibrated}"
    );
    let unknown = error("quantize{rounder=mesured}");
    assert!(unknown.contains("does not know `mesured`") && unknown.contains("did you mean `measured`?"), "{unknown}");
}

/// What every product reads, at every cut, is bit for bit what it reads when the model runs as a whole.
fn check_parts(name: &str, module: &Module, samples: &[Named]) {
    let mut copy = module.clone();
    let entry = module.entry;
    let editor = Editor::new(&mut copy, entry);
    let sites: Vec<_> = order(&editor).into_iter().filter_map(|id| sites::find(&editor, id).ok()).collect();
    let cuts = cuts(module.main(), &sites);
    let mut streams = Streams::new(module, &cuts, samples).unwrap_or_else(|why| panic!("{name}: {why}"));
    let mut wanted: Vec<HashMap<(NodeId, u32), Constant>> = vec![];
    for sample in samples {
        let mut seen = HashMap::new();
        let mut observe = |function: FuncId, node, outputs: &[Constant]| {
            if function == entry {
                seen.extend(outputs.iter().enumerate().map(|(index, output)| ((node, index as u32), output.clone())));
            }
        };
        EXECUTOR.run(module, sample, &mut observe).unwrap_or_else(|why| panic!("{name}: {why}"));
        wanted.push(seen);
    }
    for (index, group) in cuts.groups.iter().enumerate() {
        streams.advance(module, module, index, &EXECUTOR).unwrap_or_else(|why| panic!("{name}, group {index}: {why}"));
        let Def::Node(node, output) = module.main()[group.x].def else { continue };
        for (sample, wanted) in wanted.iter().enumerate() {
            let (float, other) = streams.pair(sample, group.x).unwrap_or_else(|| panic!("{name}, group {index}: it is not there"));
            let wanted = &wanted[&(node, output)];
            assert!(float.hash == wanted.hash && other.hash == wanted.hash, "{name}, group {index}");
        }
    }
    let most = cuts.live.iter().map(Vec::len).max().unwrap_or(0);
    let _ = writeln!(std::io::stderr(), "{name}: {} groups, at most {most} values live, {:?}", cuts.groups.len(), cuts.whole);
}

#[test]
fn parts_equal_the_whole() {
    check_parts("llama", &llama(), &windows(3));
    let found = models();
    for name in MODELS {
        match found.iter().find(|model| model.name == name) {
            Some(model) => check_parts(name, &canonical(source::open_graph(&model.path).unwrap()), &given(model)),
            None => _ = writeln!(std::io::stderr(), "skipped: {name} with its reference is not in {}", home().display()),
        }
    }
}

/// The inputs of the references of a model.
fn given(model: &Model) -> Vec<Named> {
    let tensors = |inputs: &[(String, Tensor)]| inputs.iter().map(|(name, tensor)| (name.clone(), to_constant(tensor))).collect();
    model.references().unwrap_or_else(|report| panic!("{report}")).iter().map(|reference| tensors(&reference.inputs)).collect()
}
