//! Rounded groups in a checkpoint.
//!
//! Name      `<key>-<group>`; the key is a hash of the module, the options, the calibration data and this version.
//! Contents  BLAKE3 of the rest; length of the header, u32; the header, JSON; of every weight codes, scales, zero points and bias,
//!           little endian. A damaged one is not used, and said as a remark.

use super::cuts::Group;
use super::outcome::Outcome;
use super::{Job, Planned, Samples};
use crate::checkpoint::Checkpoint;
use crate::layer::LayerReport;
use crate::pass::PassContext;
use crate::quantize::sites::Site;
use crate::quantize::weights;
use mokume_ir::constant::{Constant, QuantData, packed_bytes};
use mokume_ir::diag::Report;
use mokume_ir::graph::Module;
use mokume_ir::text;
use mokume_ir::types::Elem;
use serde::{Deserialize, Serialize};

/// Numbers the form of the contents; also to be raised when a rounder gives other codes than before.
const FORM: u32 = 2;

/// Bytes of a BLAKE3 hash.
const HASH: usize = 32;

/// The groups of one job in a checkpoint, if there is one.
pub struct Saved<'c> {
    checkpoint: Option<(&'c dyn Checkpoint, String)>,
    planned: &'c dyn Fn(&Site) -> Planned,
}

/// What a file says of one weight, beside the numbers.
#[derive(Serialize, Deserialize)]
struct Header {
    report: LayerReport,
    /// The errors of the report, bit by bit.
    errors: (u64, Option<u64>),
    remarks: Vec<String>,
    has_bias: bool,
}

impl<'c> Saved<'c> {
    /// What `checkpoint` holds of rounding `module` in this way with these samples.
    pub(super) fn new(module: &Module, job: &Job<'c>, samples: &Samples, checkpoint: Option<&'c dyn Checkpoint>) -> Self {
        Saved { checkpoint: checkpoint.map(|checkpoint| (checkpoint, key(module, &job.options, samples))), planned: job.planned }
    }
    /// The weights of group number `index`, if they are there and whole.
    ///
    /// Errors  when there is something that cannot be read.
    pub(super) fn load(
        &self,
        index: usize,
        group: &Group,
        module: &Module,
        cx: &mut PassContext<'_>,
    ) -> Result<Option<Vec<Outcome>>, Report> {
        let Some((checkpoint, key)) = &self.checkpoint else { return Ok(None) };
        let Some(data) = checkpoint.load(&name(key, index))? else { return Ok(None) };
        let outcomes = decode(&data, group, self.planned);
        if outcomes.is_none() {
            let why = format!("{} in the checkpoint is damaged: it is computed again", name(key, index));
            cx.remark(module.main(), group.sites[0].node, why);
        }
        Ok(outcomes)
    }
    /// Keeps the weights of group number `index`.
    ///
    /// Errors  when they cannot be written.
    pub(super) fn store(&self, index: usize, outcomes: &[Outcome]) -> Result<(), Report> {
        let Some((checkpoint, key)) = &self.checkpoint else { return Ok(()) };
        checkpoint.store(&name(key, index), &encode(outcomes))
    }
}

fn name(key: &str, index: usize) -> String {
    format!("{key}-{index:04}")
}

/// What tells a job from all others.
pub fn key(module: &Module, options: &str, samples: &Samples) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(format!("{FORM} {}", env!("CARGO_PKG_VERSION")).as_bytes());
    add(text::print(module).as_bytes());
    add(options.as_bytes());
    for (name, tensor) in samples.iter().flatten() {
        add(name.as_bytes());
        add(&tensor.hash);
    }
    hasher.finalize().to_hex()[..16].to_string()
}

fn encode(outcomes: &[Outcome]) -> Vec<u8> {
    let header = |outcome: &Outcome| Header {
        report: outcome.report.clone(),
        errors: (outcome.report.loss.to_bits(), outcome.report.heldout.map(f64::to_bits)),
        remarks: outcome.remarks.clone(),
        has_bias: outcome.bias.is_some(),
    };
    let header = serde_json::to_vec(&outcomes.iter().map(header).collect::<Vec<_>>()).unwrap_or_default();
    let mut rest = (header.len() as u32).to_le_bytes().to_vec();
    rest.extend(header);
    for outcome in outcomes {
        rest.extend(&outcome.weight.data[..]);
        if let Some(quant) = &outcome.weight.quant {
            rest.extend(quant.scales.iter().chain(&quant.zero_points));
        }
        rest.extend(outcome.bias.iter().flatten().flat_map(|bias| bias.to_le_bytes()));
    }
    let mut data = blake3::hash(&rest).as_bytes().to_vec();
    data.extend(rest);
    data
}

fn decode(data: &[u8], group: &Group, planned: &dyn Fn(&Site) -> Planned) -> Option<Vec<Outcome>> {
    let (hash, rest) = data.split_at_checked(HASH)?;
    (blake3::hash(rest).as_bytes() == hash).then_some(())?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (header, mut rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let headers: Vec<Header> = serde_json::from_slice(header).ok()?;
    let sites = group.sites.iter().zip(headers);
    let outcomes = sites.map(|(site, header)| outcome(&mut rest, site, header, planned(site))).collect::<Option<Vec<_>>>()?;
    (rest.is_empty() && outcomes.len() == group.sites.len()).then_some(outcomes)
}

fn outcome(rest: &mut &[u8], site: &Site, header: Header, planned: Planned) -> Option<Outcome> {
    let (dims, Planned { format, stored, predicted }) = ([site.rows, site.cols], planned);
    let ty = weights::weight_type(format.rounding, format.group, site.cols);
    let codes = take(rest, packed_bytes(&dims, Elem::Quant(ty))?)?;
    let scales = 4 * site.rows * format.blocks(site.cols);
    let quant = QuantData {
        scales: take(rest, scales)?.to_vec().into(),
        zero_points: take(rest, if ty.zero_point { scales } else { 0 })?.to_vec().into(),
    };
    let bias = if header.has_bias { Some(take(rest, 4 * site.rows)?) } else { None };
    let bias = bias.map(|bytes| bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect());
    let weight = Constant::with_quant(&dims, Elem::Quant(ty), codes.to_vec().into(), Some(quant));
    let (loss, heldout) = (f64::from_bits(header.errors.0), header.errors.1.map(f64::from_bits));
    Some(Outcome { weight, bias, report: LayerReport { loss, heldout, stored, predicted, ..header.report }, remarks: header.remarks })
}

fn take<'d>(rest: &mut &'d [u8], count: usize) -> Option<&'d [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}
