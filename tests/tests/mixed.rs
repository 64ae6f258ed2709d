//! Widths by product: within the budget, where the loss gains most, the same whatever the number of threads and however often stopped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume::driver::executor::RuntimeExecutor;
use mokume::driver::{compile, weights};
use mokume_codegen::Target;
use mokume_frontends::onnx;
use mokume_ir::diag::Report;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::order::order;
use mokume_ir::quant::Levels;
use mokume_ir::text::print;
use mokume_passes::checkpoint::Checkpoint;
use mokume_passes::executor::{Executor, Named};
use mokume_passes::layer::LayerReport;
use mokume_passes::manager::run_pipeline;
use mokume_passes::pass::{PassContext, Quiet};
use mokume_passes::pipeline::Pipeline;
use mokume_passes::quantize::mixed::backward::weigh;
use mokume_passes::quantize::mixed::loss::Loss;
use mokume_passes::quantize::mixed::table::{Table, Ways};
use mokume_passes::quantize::round::Rounding;
use mokume_passes::quantize::rounder::{Format, Nearest};
use mokume_passes::quantize::sites::{self, Site};
use mokume_runtime::artifact::{self, ReadOptions};
use mokume_runtime::program::Program;
use mokume_tests::llama::{STORIES, windows};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

const EXECUTOR: RuntimeExecutor = RuntimeExecutor { threads: 2 };
const PIPELINE: &str = "quantize{budget=3.4,group=32,a_levels=signed,rounder=measured}";

fn llama() -> Module {
    let mut module = onnx::import_bytes(STORIES.model().encode_to_vec().into(), None).unwrap_or_else(|report| panic!("{report}"));
    rewrite(&mut module, &compile::pipeline(None, Some("float")).unwrap().to_string(), vec![], None);
    module
}

/// Layers of a pipeline, and what it says: remarks and notes.
fn rewrite(
    module: &mut Module,
    pipeline: &str,
    calibration: Vec<Named>,
    checkpoint: Option<&dyn Checkpoint>,
) -> (Vec<LayerReport>, Vec<String>) {
    let mut quiet = Quiet;
    let mut cx = PassContext::new(&EXECUTOR, &mut quiet);
    (cx.verify_each, cx.calibration, cx.checkpoint) = (true, calibration, checkpoint);
    let report = run_pipeline(module, &Pipeline::parse(pipeline).unwrap(), &mut cx).unwrap_or_else(|error| panic!("{error}"));
    let notes = report.passes.iter().flat_map(|pass| pass.notes.clone());
    let remarks = report.remarks().map(|remark| remark.to_string()).chain(notes).collect();
    (report.passes.into_iter().flat_map(|pass| pass.layers).collect(), remarks)
}

fn rounded(pipeline: &str, checkpoint: Option<&dyn Checkpoint>) -> (String, Vec<LayerReport>, Vec<String>) {
    let mut module = llama();
    let (layers, remarks) = rewrite(&mut module, pipeline, windows(4), checkpoint);
    (print(&module), layers, remarks)
}

fn sites_of(module: &Module) -> Vec<Site> {
    let mut copy = module.clone();
    let entry = module.entry;
    let editor = Editor::new(&mut copy, entry);
    order(&editor).into_iter().filter_map(|id| sites::find(&editor, id).ok()).collect()
}

/// Mean divergence of the predictions of one model from those of another, in nats per token.
fn divergence(exact: &Module, other: &Module, samples: &[Named]) -> f64 {
    let log_probabilities = |module: &Module, sample: &Named| -> Vec<f64> {
        let logits = EXECUTOR.outputs(module, sample).unwrap()[0].1.to_f32s().unwrap();
        let rows = logits.chunks(STORIES.vocabulary).flat_map(|row| {
            let total = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
            row.iter().map(move |&x| f64::from(x) - total)
        });
        rows.collect()
    };
    let of = |sample: &Named| {
        let (p, q) = (log_probabilities(exact, sample), log_probabilities(other, sample));
        p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>() / (p.len() / STORIES.vocabulary) as f64
    };
    samples.iter().map(of).sum::<f64>() / samples.len() as f64
}

/// One product at a time is rounded, and the loss grows about as much as was expected.
#[test]
fn expected_losses_are_those_that_are_measured() {
    let (module, samples) = (llama(), windows(8));
    let sites = sites_of(&module);
    let loss = Loss::of(module.main()).unwrap();
    let weighings = weigh(&module, &sites, &samples, &loss, &EXECUTOR, &mut |_| {}).unwrap();
    let rounding = Rounding { bits: 3, levels: Levels::Odd, search: true, half_scales: true };
    let formats = [Format { rounding, group: 32 }];
    let table = Table { module: &module, sites: &sites, weighings: Some(&weighings), samples: &samples, executor: &EXECUTOR };
    let expected = table.losses(&Ways { formats: &formats, rounder: &Nearest {} }, &mut |_, _| {}).unwrap();
    let name = |site: &Site| module.main()[site.node].loc.first().unwrap().to_string();
    let (mut sums, mut ratios) = ((0.0, 0.0), vec![]);
    for (site, expected) in sites.iter().zip(&expected) {
        let others: Vec<String> = sites.iter().filter(|other| *other != site).map(|other| format!("{:?}", name(other))).collect();
        let pipeline = format!("quantize{{w=3,levels=odd,a=16,group=32,embedding=false,skip=[{}]}}", others.join(","));
        let mut copy = module.clone();
        rewrite(&mut copy, &pipeline, vec![], None);
        let found = divergence(&module, &copy, &samples);
        sums = (sums.0 + expected[0], sums.1 + found);
        ratios.push((expected[0] / found, name(site)));
    }
    assert!((0.7..1.4).contains(&(sums.0 / sums.1)), "{sums:?}");
    let wrong: Vec<_> = ratios.iter().filter(|(ratio, _)| !(0.25..4.0).contains(ratio)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn weights_take_what_the_budget_allows() {
    let (_, layers, remarks) = rounded(PIPELINE, None);
    let elements = |layer: &LayerReport| (layer.rows * layer.cols) as f64;
    let stored: f64 = layers.iter().map(|layer| layer.stored * elements(layer)).sum();
    let mean = stored / layers.iter().map(elements).sum::<f64>();
    assert!(mean <= 3.4 && mean > 3.3, "{mean}");
    assert!(layers.iter().map(|layer| layer.bits).collect::<BTreeSet<_>>().len() > 2, "{layers:?}");
    assert!(layers.iter().all(|layer| layer.predicted.is_some_and(|loss| loss > 0.0 && loss < 1.0)), "{layers:?}");
    assert!(remarks.iter().any(|remark| remark.contains("losses are nats per token")), "{remarks:?}");
    assert!(remarks.iter().any(|remark| remark.contains("odd2 (2.500 bits)")), "{remarks:?}");
}

/// More bits, less divergence; and by product better than all alike.
#[test]
fn a_budget_is_spent_well() {
    let module = llama();
    let judged = &windows(12)[4..];
    let error = |options: &str| {
        let mut copy = module.clone();
        rewrite(&mut copy, &format!("quantize{{group=32,a_levels=signed,rounder=measured,{options}}}"), windows(4), None);
        divergence(&module, &copy, judged)
    };
    let mixed = [3.0, 3.5, 4.5, 6.0].map(|budget| error(&format!("budget={budget}")));
    assert!(mixed.is_sorted_by(|a, b| a > b), "{mixed:?}");
    let alike = [error("w=3"), error("w=4")];
    assert!(mixed[1] <= alike[0] && mixed[2] <= alike[1], "{mixed:?} {alike:?}");
}

#[test]
fn threads_do_not_change_the_bytes() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| rounded(PIPELINE, None))
    };
    assert!(with(1) == with(3));
}

/// What is reported is what the artifact holds, and five and three levels come back from it.
#[test]
fn artifacts_hold_as_many_bits_as_are_said() {
    let options = [
        "budget=3,group=32,a_levels=signed,widths=[ternary,odd2,five,5]",
        "budget=6,group=32,symmetric=false,widths=[2,4,8]",
        "budget=4,group=64,a_levels=odd,widths=[ternary,five,3]",
        "budget=4,group=64,a_levels=signed,a_group=32,widths=[ternary,five,3]",
    ];
    for options in options {
        let mut module = llama();
        let pipeline = format!("quantize{{rounder=measured,embedding=false,{options}}},fuse,dce");
        let (layers, _) = rewrite(&mut module, &pipeline, windows(4), None);
        let (program, _) = mokume_codegen::compile(module, &Target::default()).unwrap_or_else(|report| panic!("{report}"));
        let held = weights::weights(&program);
        for layer in &layers {
            let held = held.iter().find(|weight| weight.layer == layer.name && weight.is_layer()).unwrap().bits_per_element();
            assert!((held - layer.stored).abs() < 1e-9, "{options}, {}: {held} and {}", layer.name, layer.stored);
        }
        let bytes = artifact::to_bytes(&program);
        let back = artifact::from_bytes(bytes.clone(), &ReadOptions::default()).unwrap_or_else(|report| panic!("{report}"));
        let packed = |program: &Program| -> BTreeSet<_> { program.kernels().weights.values().map(|packed| packed.bytes.clone()).collect() };
        assert!(packed(&program) == packed(&back) && artifact::to_bytes(&back) == bytes, "{options}");
    }
}

/// The perplexity that was foretold is about what is found, and fewer bits are taken for a larger one.
#[test]
fn a_perplexity_is_reached_with_few_bits() {
    let numbers = |remark: &String| -> Vec<f64> { remark.split(' ').filter_map(|word| word.parse().ok()).collect() };
    let bits = [1.05, 1.2].map(|factor| {
        let (_, _, remarks) = rounded("quantize{target_ppl=1e9,group=32,a_levels=signed,rounder=measured}", None);
        let exact = remarks.iter().find(|remark| remark.contains("the float model has")).map(|remark| numbers(remark)[0]).unwrap();
        let pipeline = format!("quantize{{target_ppl={:.4},group=32,a_levels=signed,rounder=measured}}", exact * factor);
        let (_, layers, remarks) = rounded(&pipeline, None);
        let found = remarks.iter().find(|remark| remark.contains("on the calibration data") && remark.contains(": it is")).unwrap();
        assert!((numbers(found)[0] / exact - 1.0).abs() < 2.0 * (factor - 1.0), "{found} of {exact}");
        layers.iter().map(|layer| layer.stored).sum::<f64>()
    });
    assert!(bits[0] > bits[1], "{bits:?}");
}

/// What few bits of activations are expected to cost is about what they do, and those that cost most get more bits.
#[test]
fn activations_that_lose_most_get_more_bits() {
    const FEW: &str = "quantize{w=8,a=3,embedding=false,skip_head=true";
    let (module, samples) = (llama(), windows(8));
    let found = |options: &str| {
        let mut copy = module.clone();
        let (_, remarks) = rewrite(&mut copy, &format!("{FEW}{options}}}"), samples.clone(), None);
        (divergence(&module, &copy, &samples), remarks, print(&copy))
    };
    let (few, ..) = found("");
    let (all, remarks, text) = found(",a_escape=1");
    assert!(all < few / 100.0 && !text.contains("quant<3, "), "{all} of {few}");
    let note = remarks.iter().find(|remark| remark.contains("a_escape=1: ")).unwrap();
    let costs: Vec<f64> = note.split([' ', ';']).filter_map(|word| word.parse().ok()).collect();
    assert!((0.5..2.0).contains(&(costs[costs.len() - 1] / few)), "{note}: it is {few}");
    let (some, remarks, text) = found(",a_escape=0.3");
    assert!(some < 0.6 * few && text.contains("quant<3, ") && text.contains("quant<8, unsigned"), "{some} of {few}: {remarks:?}");
}

/// A checkpoint in memory that counts what is asked of it.
#[derive(Default)]
struct Shelf(Mutex<BTreeMap<String, Vec<u8>>>);

impl Checkpoint for Shelf {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Report> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }
    fn store(&self, name: &str, data: &[u8]) -> Result<(), Report> {
        self.0.lock().unwrap().insert(name.to_string(), data.to_vec());
        Ok(())
    }
}

#[test]
fn it_goes_on_from_a_checkpoint_and_gives_the_same_bytes() {
    let whole = rounded(PIPELINE, None);
    let shelf = Shelf::default();
    assert!(rounded(PIPELINE, Some(&shelf)) == whole);
    let names: Vec<String> = shelf.0.lock().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 5 * 4 + 1 + 1);
    for lost in [3, 12, names.len() - 1] {
        shelf.0.lock().unwrap().retain(|name, _| names[..lost].contains(name));
        assert!(rounded(PIPELINE, Some(&shelf)) == whole, "{lost} files were left");
    }
    rounded(&PIPELINE.replace("3.4", "3.9"), Some(&shelf));
    assert_eq!(shelf.0.lock().unwrap().len(), 2 * names.len() - 1, "another budget has groups of its own and the same losses");
}

#[test]
fn what_cannot_be_is_said() {
    let error = |pipeline: &str, calibration: Vec<Named>| {
        let mut quiet = Quiet;
        let mut cx = PassContext::new(&EXECUTOR, &mut quiet);
        cx.calibration = calibration;
        run_pipeline(&mut llama(), &Pipeline::parse(pipeline).unwrap(), &mut cx).unwrap_err().to_string()
    };
    let uncalibrated = error("quantize{budget=3}", vec![]);
    assert!(uncalibrated.contains("needs calibration data for budget=3"), "{uncalibrated}");
    let uncalibrated = error("quantize{a=4,a_escape=0.1}", vec![]);
    assert!(uncalibrated.contains("needs calibration data for a_escape=0.1"), "{uncalibrated}");
    let little = error("quantize{budget=2,group=32,a_levels=signed}", windows(2));
    assert!(little.contains("cannot keep budget=2") && little.contains("weights take 2."), "{little}");
    let both = error("quantize{budget=3,target_ppl=9}", windows(1));
    assert!(both.contains("either budget or target_ppl"), "{both}");
    let low = error("quantize{target_ppl=2}", windows(1));
    assert!(low.contains("cannot reach target_ppl=2: the float model has"), "{low}");
    let unknown = error("quantize{budget=3,widths=[3,odd9]}", windows(1));
    assert!(unknown.contains("does not know `odd9`"), "{unknown}");
}
