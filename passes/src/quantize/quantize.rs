//! Rounds weights and activations of matrix products and convolutions to few bits.
//!
//! Before  %1 = matmul %0, @w
//! After   %1 = quantize %0 {to = !quant<8, unsigned, row, zero_point>} ; %2 = dequantize %1
//!         %3 = dequantize @q : !quant<4, signed, block(0, 1, 32)> ; %4 = matmul %2, %3 {transpose_b = true}
//!
//! Legal when  the weight is an f32 constant, the activations are f32, and sums of codes fit into 32 bits.
//! Exactness   approximate: round to nearest. Weights per output channel, or per block of `group` along the sum. Activations per
//!             row (token), or per `a_group` elements of one, for matmuls; per tensor for convolutions, with ranges from calibration
//!             data if there is any, else found at run time. Convolutions that never run on the calibration data stay float, and
//!             with `keep` those that lose most.
//! Cost        O(weights), in parallel, one weight at a time; with `keep`, and where the outputs are further away, a run of the
//!             calibration data per convolution. Enables `fuse`.

use super::calibrate::{self, Range, Ranges, Seen};
use super::clip::{RowParts, clip};
use super::embedding;
use super::keep::{Sites, Trial};
use super::mixed::escape::Escape;
use super::mixed::plan::{Goal, Plan as Widths, Request, SAMPLES, nats, spread};
use super::mixed::width::Width;
use super::plan::{Plan, WIDE};
use super::product::{nearest_weight, product, shifted};
use super::rounder::{Nearest, Rounder};
use super::sites::{self, Miss, Site, WeightKey};
use super::stream::named::{AUTO, Asked};
use super::stream::outcome::Outcome;
use super::stream::{self, HELD_OUT, Job};
use super::tied::{self, Fate, Ties};
use crate::canonicalize::dce::release_constants;
use crate::pass::{Pass, PassContext, PassError};
use crate::query::callees_first;
use crate::term::{self, Term, apply};
use mokume_ir::constant::Constant;
use mokume_ir::diag::Diagnostic;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::ids::{FuncId, NodeId, ValueId};
use mokume_ir::order::order;
use std::collections::{HashMap, HashSet};

options! {
    /// Round-to-nearest quantization.
    Quantize {
        /// bits of a weight, 1 to 8
        w: u8 = 8,
        /// bits of an activation, 1 to 8; 16 or more leaves activations float
        a: u8 = 8,
        /// weights that share a scale, along the sum; 0 is one scale per output channel
        group: usize = 0,
        /// activations of a matmul that share a scale, within a row; 0 is one scale per row (token). With `group`, one of both must be a
        /// multiple of the other
        a_group: usize = 0,
        /// levels of weights: signed, odd (no zero), five (w=3), ternary (w=2)
        levels: String = "signed".to_string(),
        /// levels of activations: unsigned (with a zero point), signed, odd, five (a=3), ternary (a=2)
        a_levels: String = "unsigned".to_string(),
        /// no zero points for weights; false makes their levels unsigned
        symmetric: bool = true,
        /// shrink the range of weights to where the squared error is least
        search: bool = true,
        /// shrink the ranges of activations to where the squared error is least on the calibration data: those of what convolutions
        /// read, if they are calibrated; of rows, one part of the range of each is chosen for all
        a_search: bool = false,
        /// names of nodes that stay float; `*` matches anything
        skip: Vec<String> = vec![],
        /// keep the first and the last product float
        skip_ends: bool = false,
        /// keep products float behind which there is no other, such as the head of a language model: for another pass
        skip_head: bool = false,
        /// sums of fewer terms stay float
        min_k: usize = 8,
        /// large embedding tables in few bits
        embedding: bool = true,
        /// bits of those with codes of their own, 1 to 8; below 8 in blocks of `group`
        embedding_w: u8 = 8,
        /// least bits of a product's weight whose codes serve the embedding with the same table too; 9 is never
        tied: u8 = 4,
        /// part of the multiplications whose activations get 8 bits instead of `a`: where few bits lose most, by calibration data; 0 is none
        a_escape: f64 = 0.0,
        /// ranges of what convolutions read are those of the calibration data, if there is any; else found at run time
        calib: bool = true,
        /// lowest cosine of an output on the calibration data, for which the convolutions that lose most stay float; 0 is off
        keep: f64 = 0.0,
        /// bits per weight, a mean over all products with all that is stored of them: with calibration data every weight gets one of `widths`,
        /// so that the loss of the model grows least; 0 is off, every weight has `w` bits
        budget: f64 = 0.0,
        /// perplexity that a language model may have on the calibration data, as far as it can be foretold: every weight gets one of `widths`,
        /// so that all take the fewest bits; 0 is off
        target_ppl: f64 = 0.0,
        /// widths that weights may have with `budget` or `target_ppl`: bits, with `levels`; or odd2, signed3, unsigned4, five, ternary
        widths: Vec<Width> = Width::list("ternary odd2 five odd3 4 5 6 8"),
        /// how codes are chosen: nearest; or with calibration data measured, descent, gptq, soft; auto is soft, or measured
        /// where that does better on what is held out; without data nearest
        rounder: String = "nearest".to_string(),
        /// rounders with calibration data may also aim at the outputs of the float model; what does better on held-out samples is taken
        retarget: bool = true,
        /// how often descent, gptq and soft fit scales to the codes at the end; 0 keeps the scales
        refits: usize = 3,
        /// rounders with calibration data also correct the mean of every output
        bias: bool = false,
    }
}

impl Pass for Quantize {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let (plan, sites) = (self.plan()?, self.sites(editor, cx));
        let ties = self.ties(editor, &sites, &plan);
        self.edit(editor, &plan, &sites, &Ranges::new(), cx)?;
        self.edit_tables(editor, &ties, cx)
    }

    fn run_module(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let mut plan = self.plan()?;
        let mut sites: Sites = vec![];
        for function in callees_first(module) {
            let found = self.sites(&Editor::new(module, function), cx);
            sites.extend(found.into_iter().map(|site| (function, site)));
        }
        let rounders = self.rounders(cx)?;
        let mut ranges = self.calibrate(module, &plan, &mut sites, cx)?;
        ranges.extend(self.row_parts(module, &plan, &sites, cx)?);
        if self.a_escape > 0.0 {
            plan.escaped = self.escaped(module, &plan, &sites, cx)?;
        }
        if let Some(goal) = self.goal()? {
            plan.widths = self.mixed(module, goal, &plan, &sites, &rounders, cx)?;
        }
        let ties: HashMap<FuncId, Ties> = callees_first(module)
            .into_iter()
            .map(|function| (function, self.ties(&Editor::new(module, function), &own(&sites, function), &plan)))
            .collect();
        if !rounders.is_empty() {
            self.stream(module, &plan, &mut sites, &ranges, &rounders, cx)?;
        }
        for function in callees_first(module) {
            let mut editor = Editor::new(module, function);
            self.edit(&mut editor, &plan, &own(&sites, function), &ranges, cx)?;
            self.edit_tables(&mut editor, &ties[&function], cx)?;
        }
        release_constants(module);
        if self.target_ppl > 0.0 {
            self.check_perplexity(module, cx)?;
        }
        Ok(())
    }
}

fn uncalibrated(what: String, instead: &str) -> Diagnostic {
    let error = Diagnostic::input("quantize::uncalibrated", format!("pass `quantize` needs calibration data for {what}"));
    error.help(format!("give data with --calib FILE, or choose {instead}, which needs none"))
}

/// The sites of a function.
fn own(sites: &Sites, function: FuncId) -> Vec<Site> {
    sites.iter().filter(|(owner, _)| *owner == function).map(|(_, site)| *site).collect()
}

/// Weights in codes.
type Done = HashMap<WeightKey, Constant>;

/// Numbers of every tensor by which ranges are chosen.
const NUMBERS: usize = 8192;

impl Quantize {
    /// Remarks what became of the perplexity.
    fn check_perplexity(&self, module: &Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let found = nats(module, &spread(&cx.calibration, SAMPLES), cx.executor)?.exp();
        cx.note(format!("target_ppl={}: it is {found:.4} on the calibration data", self.target_ppl));
        Ok(())
    }

    /// The activations of the entry function that get more bits than others.
    fn escaped(
        &self,
        module: &Module,
        plan: &Plan,
        sites: &Sites,
        cx: &mut PassContext<'_>,
    ) -> Result<HashSet<(FuncId, ValueId)>, PassError> {
        if cx.calibration.is_empty() {
            return Err(uncalibrated(format!("a_escape={}", self.a_escape), "a=8").into());
        }
        let matmuls: Vec<Site> = own(sites, module.entry).into_iter().filter(|site| !site.conv).collect();
        let activations = |site: &Site| plan.quantized(module.entry, site, &Ranges::new());
        let options = serde_json::to_string(&Quantize { a_escape: 0.0, ..self.clone() }).unwrap_or_default();
        let values = Escape { module, sites: &matmuls, activations: &activations, options }.choose(self.a_escape, cx)?;
        Ok(values.into_iter().map(|x| (module.entry, x)).collect())
    }

    /// A width for every weight of the entry function.
    fn mixed(
        &self,
        module: &Module,
        goal: Goal,
        plan: &Plan,
        sites: &Sites,
        rounders: &[Box<dyn Rounder>],
        cx: &mut PassContext<'_>,
    ) -> Result<Widths, PassError> {
        let own = own(sites, module.entry);
        let first = rounders.first().map_or(&Nearest {} as &dyn Rounder, |rounder| &**rounder);
        let scout = first.scout();
        let request = Request {
            goal,
            formats: self.formats(plan)?,
            activations: plan.activations,
            rounder: scout.as_deref().unwrap_or(first),
            options: serde_json::to_string(&Quantize { budget: 0.0, target_ppl: 0.0, ..self.clone() }).unwrap_or_default(),
        };
        request.plan(module, &own, cx)
    }

    /// What can be quantized, in canonical order; remarks about what cannot.
    fn sites(&self, editor: &Editor<'_>, cx: &mut PassContext<'_>) -> Vec<Site> {
        let mut sites = vec![];
        for id in order(editor) {
            match sites::find(editor, id).and_then(|site| self.admit(editor, site)) {
                Ok(site) => sites.push(site),
                Err(Miss::Skip(why)) => cx.remark(editor, id, why),
                Err(Miss::NoMatch) => {}
            }
        }
        if self.skip_head {
            for head in sites::split_heads(editor, &mut sites) {
                cx.remark(editor, head.node, "no other product is behind it");
            }
        }
        if self.skip_ends && sites.len() > 2 {
            for end in [sites.remove(0), sites.remove(sites.len() - 1)] {
                cx.remark(editor, end.node, "first or last product of the model");
            }
        }
        sites
    }

    fn admit(&self, editor: &Editor<'_>, site: Site) -> Result<Site, Miss> {
        if let Some(pattern) = self.skipped_by(editor, site.node) {
            return Err(Miss::Skip(format!("skipped by name: {pattern}")));
        }
        if site.cols < self.min_k {
            return Err(Miss::Skip(format!("sums of {} terms are too short", site.cols)));
        }
        let largest = |bits: u8| (1u64 << bits.min(8)) - 1;
        let widest = if self.budget > 0.0 || self.target_ppl > 0.0 { 8 } else { self.w };
        let activations = if self.a_escape > 0.0 { WIDE.max(self.a) } else { self.a };
        if self.a < 16 && site.cols as u64 * largest(widest) * largest(activations) > i32::MAX as u64 {
            return Err(Miss::Skip(format!("sums of {} products may not fit into 32 bits", site.cols)));
        }
        Ok(site)
    }

    fn skipped_by(&self, editor: &Editor<'_>, id: NodeId) -> Option<&String> {
        let names = &editor[id].loc.names;
        self.skip.iter().find(|pattern| names.iter().any(|name| sites::name_matches(pattern, name)))
    }

    /// Ranges of the activations of convolutions. Convolutions that should stay float leave `sites`.
    fn calibrate(&self, module: &Module, plan: &Plan, sites: &mut Sites, cx: &mut PassContext<'_>) -> Result<Ranges, PassError> {
        let convs: Sites = sites.iter().filter(|(_, site)| site.conv).copied().collect();
        if cx.calibration.is_empty() || plan.activations.is_none() || convs.is_empty() {
            return Ok(Ranges::new());
        }
        let kept = if self.calib && self.a_search { NUMBERS } else { 0 };
        let mut seen = Seen { kept, ..Seen::default() };
        calibrate::watch(module, &convs, &cx.calibration, &mut seen, cx.executor)?;
        let Seen { mut spans, numbers, ran, .. } = seen;
        if !self.calib {
            spans.clear();
        } else if self.a_search {
            plan.activations.iter().for_each(|activations| clip(activations, &mut spans, &numbers));
        }
        let mut ranges: Ranges = spans.into_iter().map(|(key, (low, high))| (key, Range::Fixed(low, high))).collect();
        for (function, site) in convs.iter().filter(|(function, site)| site.is_pooled(&module[*function])) {
            ranges.remove(&(*function, site.x));
        }
        sites.retain(|(function, site)| {
            let known = !site.conv || ran.contains(&(*function, site.node));
            if !known {
                cx.remark(&module[*function], site.node, "it never runs on the calibration data");
            }
            known
        });
        self.keep_float(module, plan, sites, &ranges, cx)?;
        Ok(ranges)
    }

    /// Which part of the range of a row the levels of matmuls' activations span.
    fn row_parts(&self, module: &Module, plan: &Plan, sites: &Sites, cx: &mut PassContext<'_>) -> Result<Ranges, PassError> {
        let Some(activations) = plan.activations.filter(|_| self.a_search && !cx.calibration.is_empty()) else { return Ok(Ranges::new()) };
        let matmuls: Sites = sites.iter().filter(|(_, site)| !site.conv).copied().collect();
        let mut parts = RowParts::new(activations);
        calibrate::watch(module, &matmuls, &spread(&cx.calibration, SAMPLES), &mut parts, cx.executor)?;
        Ok(parts.best())
    }

    /// Takes those of `sites` away that lose most.
    fn keep_float(
        &self,
        module: &Module,
        plan: &Plan,
        sites: &mut Sites,
        ranges: &Ranges,
        cx: &mut PassContext<'_>,
    ) -> Result<(), PassError> {
        if self.keep <= 0.0 {
            return Ok(());
        }
        let (mut done, samples, executor) = (Done::new(), std::mem::take(&mut cx.calibration), cx.executor);
        let mut round = |copy: &mut Module, sites: &[(FuncId, Site)]| {
            sites.iter().try_for_each(|(function, site)| self.round(&mut Editor::new(copy, *function), plan, site, ranges, &mut done))
        };
        let mut progress = |done, total| cx.progress(done, total);
        let trial = Trial { module, round: &mut round, samples: &samples, executor, progress: &mut progress };
        let kept = { trial }.choose(sites, self.keep);
        cx.calibration = samples;
        let kept = kept?;
        for (function, site) in &kept.sites {
            let why = format!("it is one of {} that lose most; the lowest cosine without them is {:.6}", kept.sites.len(), kept.cosine);
            cx.remark(&module[*function], site.node, why);
        }
        sites.retain(|site| !kept.sites.contains(site));
        Ok(())
    }

    /// The ways to round that need calibration data, if the option asks for any.
    fn rounders(&self, cx: &mut PassContext<'_>) -> Result<Vec<Box<dyn Rounder>>, PassError> {
        // With 8 bits there is little to gain, and few samples are learnt by heart.
        let careful = self.w >= 8 && cx.calibration.len() < HELD_OUT;
        let asked = Asked { name: &self.rounder, careful, retarget: self.retarget, refits: self.refits, bias: self.bias };
        let rounders = asked.rounders()?;
        if !cx.calibration.is_empty() {
            return Ok(rounders);
        }
        match self.goal()? {
            Some(goal) => return Err(uncalibrated(goal.to_string(), "w=BITS").into()),
            None if rounders.is_empty() => return Ok(rounders),
            None if self.rounder != AUTO => return Err(uncalibrated(format!("rounder={}", self.rounder), "rounder=nearest").into()),
            None => {}
        }
        cx.note("without calibration data every weight is rounded to the nearest level; --calib FILE loses less");
        Ok(vec![])
    }

    /// Rounds the sites of the entry function with calibration data; they leave `sites`.
    fn stream(
        &self,
        module: &mut Module,
        plan: &Plan,
        sites: &mut Sites,
        ranges: &Ranges,
        rounders: &[Box<dyn Rounder>],
        cx: &mut PassContext<'_>,
    ) -> Result<(), PassError> {
        let entry = module.entry;
        let (own, others): (Sites, Sites) = sites.iter().partition(|(function, _)| *function == entry);
        for (function, site) in &others {
            cx.remark(&module[*function], site.node, "in a function of its own: rounded to nearest");
        }
        *sites = others;
        let own: Vec<Site> = own.into_iter().map(|(_, site)| site).collect();
        let activations = |site: &Site| plan.quantized(entry, site, ranges);
        let job = Job {
            sites: &own,
            rounders,
            planned: &|site| plan.planned(site),
            options: format!("{} {:?}", serde_json::to_string(self).unwrap_or_default(), plan.own_formats(&own)),
            activations: &activations,
            place: &|editor, site, outcome| self.place(editor, plan, site, outcome, ranges),
        };
        stream::round(module, &job, cx)
    }

    fn place(&self, editor: &mut Editor<'_>, plan: &Plan, site: &Site, outcome: &Outcome, ranges: &Ranges) -> Result<(), PassError> {
        let x = plan.quantized(editor.function(), site, ranges);
        let product = product(editor, site, outcome.weight.clone(), x);
        let product = match &outcome.bias {
            Some(bias) => shifted(editor, site, product, bias),
            None => product,
        };
        Ok(term::replace(editor, site.node, product)?)
    }

    fn edit(
        &self,
        editor: &mut Editor<'_>,
        plan: &Plan,
        sites: &[Site],
        ranges: &Ranges,
        cx: &mut PassContext<'_>,
    ) -> Result<(), PassError> {
        let mut done = Done::new();
        for (i, site) in sites.iter().enumerate() {
            cx.progress(i, sites.len());
            if !cx.take() {
                return Ok(());
            }
            self.round(editor, plan, site, ranges, &mut done)?;
        }
        Ok(())
    }

    /// Rounds one site.
    fn round(&self, editor: &mut Editor<'_>, plan: &Plan, site: &Site, ranges: &Ranges, done: &mut Done) -> Result<(), PassError> {
        let weight = done.entry(site.key()).or_insert_with(|| nearest_weight(editor, site, plan.planned(site).format)).clone();
        let x = plan.quantized(editor.function(), site, ranges);
        let product = product(editor, site, weight, x);
        Ok(term::replace(editor, site.node, product)?)
    }

    fn ties(&self, editor: &Editor<'_>, sites: &[Site], plan: &Plan) -> Ties {
        tied::find(editor, sites, &|site| plan.planned(site).format.rounding.bits, self.tied)
    }

    /// Quantizes the tables of embeddings.
    fn edit_tables(&self, editor: &mut Editor<'_>, ties: &Ties, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let nodes = order(editor).into_iter().filter(|&id| self.embedding && self.skipped_by(editor, id).is_none());
        for id in nodes.collect::<Vec<_>>() {
            let Some(term) = self.look_up(editor, id, ties.get(&id), cx) else { continue };
            if !cx.take() {
                break;
            }
            term::replace(editor, id, term)?;
        }
        Ok(())
    }

    /// What the look-up at `id` becomes.
    fn look_up(&self, editor: &Editor<'_>, id: NodeId, tie: Option<&Fate>, cx: &mut PassContext<'_>) -> Option<Term> {
        match tie {
            Some(Fate::Shared(product)) => {
                let node = &editor[id];
                Some(apply(node.op.clone(), [tied::weight(editor, *product)?, node.inputs[1]]))
            }
            Some(Fate::Float) => {
                cx.remark(editor, id, "its table stays float, as the product with the same table does");
                None
            }
            Some(Fate::Apart(bits)) => {
                let own = self.embedding_w;
                let why = format!("its table gets {own} bits of its own: the product with the same table has {bits}, tied={}", self.tied);
                cx.remark(editor, id, why);
                embedding::find(editor, id, own, self.group)
            }
            None => embedding::find(editor, id, self.embedding_w, self.group),
        }
    }
}
