//! The page about one compilation: sizes, bits and errors of layers, perplexity, time of passes.

use super::html::Page;
use super::plot::{Bar, Scale, bars, number};
use super::table::{bytes, milliseconds};
use crate::driver::compare::Difference;
use crate::driver::eval::perplexity::Perplexity;
use crate::driver::weights::Weight;
use mokume_passes::layer::LayerReport;
use mokume_passes::manager::PassReport;

/// What the page tells.
pub struct Compiled {
    /// The model.
    pub title: String,
    /// The passes, as text.
    pub pipeline: String,
    /// Bytes of the model's files.
    pub bytes_in: u64,
    /// Bytes of the artifact.
    pub bytes_out: u64,
    /// Of the whole compilation.
    pub seconds: f64,
    /// Every constant of the artifact.
    pub weights: Vec<Weight>,
    /// Every layer on one input, in order; or why there are none.
    pub differences: Result<Vec<Difference>, String>,
    /// What that input is.
    pub sample: String,
    /// What was measured while weights were rounded.
    pub layers: Vec<LayerReport>,
    /// What passes did.
    pub passes: Vec<PassReport>,
    /// Of the model and of the artifact on the same text.
    pub perplexity: Option<[Perplexity; 2]>,
    /// Kernels by number.
    pub kernels: Vec<String>,
}

impl Compiled {
    /// The page.
    pub fn page(&self) -> String {
        let mut page = Page::new(&self.title);
        page.figures(&self.figures());
        self.add_perplexity(&mut page);
        self.add_weights(&mut page);
        self.add_differences(&mut page);
        self.add_rounding(&mut page);
        self.add_passes(&mut page);
        page.finish()
    }

    fn figures(&self) -> Vec<(String, String)> {
        let elements: usize = self.weights.iter().map(|weight| weight.elements).sum();
        let held: usize = self.weights.iter().map(|weight| weight.bytes).sum();
        let bits = 8.0 * held as f64 / elements.max(1) as f64;
        let mut figures = vec![
            (bytes(self.bytes_in as usize), "the model".into()),
            (bytes(self.bytes_out as usize), "the artifact".into()),
            (format!("{:.2} times", self.bytes_in as f64 / self.bytes_out.max(1) as f64), "smaller".into()),
            (format!("{bits:.3}"), "bits per weight, scales and all".into()),
            (format!("{:.1} s", self.seconds), "to compile".into()),
        ];
        if let Some([before, after]) = &self.perplexity {
            figures.push((format!("{:.3}", before.perplexity), "perplexity before".into()));
            figures.push((format!("{:.3}", after.perplexity), "perplexity after".into()));
        }
        figures
    }
    fn add_perplexity(&self, page: &mut Page) {
        let Some([before, after]) = &self.perplexity else { return };
        let about = format!("{} tokens in {} windows of the same text, before and after.", before.tokens, before.windows.len());
        page.section("Perplexity", &about);
        let row = |name: &str, score: &Perplexity| {
            let error = score.standard_error.map_or("-".into(), |error| format!("{error:.4}"));
            vec![name.into(), format!("{:.4}", score.perplexity), format!("{:.5}", score.nats_per_token), error]
        };
        page.table(&["", "perplexity", "nats per token", "standard error"], &[row("model", before), row("artifact", after)]);
        let excess = after.nats_per_token - before.nats_per_token;
        page.note(&format!("The artifact needs {excess:+.5} nats per token."));
        let pairs = before.windows.iter().zip(&after.windows).enumerate();
        let rows: Vec<_> = pairs
            .map(|(index, (before, after))| {
                vec![index.to_string(), format!("{before:.4}"), format!("{after:.4}"), format!("{:+.4}", after - before)]
            })
            .collect();
        page.folded_table("Every window", &["window", "before", "after", "excess"], &rows);
    }
    fn add_weights(&self, page: &mut Page) {
        page.section(
            "Bits per weight",
            "All that the artifact holds of a layer, over its weights: codes, scales, zero points, sums and padding.",
        );
        let layers: Vec<&Weight> = self.weights.iter().filter(|weight| weight.is_layer()).collect();
        let bar = |weight: &&Weight| Bar { name: weight.layer.clone(), value: weight.bits_per_element() };
        page.drawing(&bars(&layers.iter().map(bar).collect::<Vec<_>>(), Scale::Linear, "bits per weight", "layers in order"));
        let sizes = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        let row = |weight: &&Weight| {
            let bits = format!("{:.3}", weight.bits_per_element());
            vec![weight.layer.clone(), weight.op.into(), sizes(&weight.shape), weight.elem.clone(), bytes(weight.bytes), bits]
        };
        let headings = ["layer", "op", "sizes", "type", "held", "bits per weight"];
        page.folded_table(&format!("All {} layers", layers.len()), &headings, &layers.iter().map(row).collect::<Vec<_>>());
        let rest: usize = self.weights.iter().filter(|weight| !weight.is_layer()).map(|weight| weight.bytes).sum();
        page.note(&format!("Biases, norms and other constants: {}. Kernels: {}.", bytes(rest), self.kernels.join("; ")));
    }
    fn add_differences(&self, page: &mut Page) {
        let about = "Squared error of a layer's output over the squared output before rounding, with the errors of all layers before it";
        page.section("Error of every layer", &format!("{about}; on {}.", self.sample));
        let differences = match &self.differences {
            Ok(differences) => differences,
            Err(why) => return page.note(&format!("Not compared: {why}")),
        };
        let bar = |d: &Difference| Bar { name: d.name.clone(), value: d.relative_noise() };
        page.drawing(&bars(&differences.iter().map(bar).collect::<Vec<_>>(), Scale::Log, "relative squared error", "layers in order"));
        let decibel = |sqnr: Option<f64>| sqnr.map_or("exact".into(), |sqnr| format!("{sqnr:.1}"));
        let row = |d: &Difference| vec![d.name.clone(), decibel(d.sqnr_db), format!("{:.6}", d.cosine), number(d.max_error)];
        let mut worst: Vec<&Difference> = differences.iter().collect();
        worst.sort_by(|a, b| b.relative_noise().total_cmp(&a.relative_noise()).then_with(|| a.name.cmp(&b.name)));
        let rows: Vec<_> = worst.into_iter().map(row).collect();
        page.folded_table("All layers, worst first", &["layer", "SQNR dB", "cosine", "largest error"], &rows);
    }
    fn add_rounding(&self, page: &mut Page) {
        if self.layers.is_empty() {
            return;
        }
        page.section("Error of rounding", "Squared error of a product's output over the squared output, for the inputs that it will see.");
        let bar = |layer: &LayerReport| Bar { name: layer.name.clone(), value: layer.heldout.unwrap_or(layer.loss) };
        page.drawing(&bars(&self.layers.iter().map(bar).collect::<Vec<_>>(), Scale::Log, "relative squared error", "products in order"));
        let known = |number: Option<f64>| number.map_or("-".into(), |number| format!("{number:.2e}"));
        let row = |layer: &LayerReport| {
            let sizes = format!("{} x {}", layer.rows, layer.cols);
            let widths = [format!("{} {}", layer.bits, layer.levels), format!("{:.3}", layer.stored), known(layer.predicted)];
            let errors = [layer.rounder.clone(), format!("{:.2e}", layer.loss), known(layer.heldout)];
            [layer.name.clone(), sizes].into_iter().chain(widths).chain(errors).collect::<Vec<_>>()
        };
        let rows: Vec<_> = self.layers.iter().map(row).collect();
        let headings = ["product", "sizes", "bits", "with scales", "expected loss", "rounder", "error", "held out"];
        page.folded_table("All products", &headings, &rows);
    }
    fn add_passes(&self, page: &mut Page) {
        page.section("Passes", "What every pass did, and its time.");
        let row = |pass: &PassReport| {
            let edits = pass.edits.to_string();
            vec![pass.pass.clone(), edits, pass.nodes_before.to_string(), pass.nodes_after.to_string(), milliseconds(pass.wall)]
        };
        let rows: Vec<_> = self.passes.iter().map(row).collect();
        page.table(&["pass", "edits", "nodes before", "after", "time"], &rows);
        page.section("Pipeline", "To compile again in the same way:");
        page.code(&self.pipeline);
    }
}
