//! Distribution correction, learned block by block: scales of channels, clips of weights, and a correction of rank one.
//!
//! Before  %1 = rms_norm %0, @g ; %2 = matmul %1, @w
//! After   %1 = rms_norm %0, @g/s ; %2 = quantize %1 ; %3 = dequantize %2 ; %4 = dequantize @q ; %5 = matmul %3, %4
//!         // @q: the codes of @w*s with clipped ranges; the same for all products of a block, see student.rs
//!
//! Every block is trained by itself with AdamW, a sample a step, to give what the float block gives (loss.rs), on what the blocks
//! before, rounded already, give it. Then its weights become the codes of its last state.
//!
//! Legal when  the model is a chain of Llama blocks: RMSNorm, attention, RMSNorm, SwiGLU, without biases in between (blocks.rs).
//! Exactness   approximate. Weights get zero points and one scale per row, or per group; activations one per token.
//! Cost        epochs * samples runs of every block forth and back. Memory: one block with its gradients, and for every sample two
//!             residual streams, the outputs and the attention of one block.
//! Source      Zeng et al., "ABQ-LLM: Arbitrary-Bit Quantized Inference Acceleration for Large Language Models", 2024, section 3,
//!             and its published code, whose defaults these are; Shao et al., "OmniQuant", 2024, for learnable clips and scales.

mod adam;
mod blocks;
mod loss;
mod peaks;
mod student;
mod train;

use self::blocks::{Block, blocks};
use self::train::Trained;
use super::mixed::stored::{Activations, stored_bits};
use super::round::{Grid, Rounding};
use super::rounder::Format;
use super::sites::Site;
use super::weights;
use crate::canonicalize::dce::release_constants;
use crate::layer::LayerReport;
use crate::pass::{Pass, PassContext, PassError};
use crate::query;
use crate::term::{self, Term, apply};
use half::f16;
use mokume_ir::constant::Constant;
use mokume_ir::diag::Diagnostic;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::op::{Dequantize, Matmul, Quantize};
use mokume_ir::quant::{Granularity, Levels, QuantType};

options! {
    /// Learned distribution correction.
    Abq {
        /// bits of a weight, 1 to 8
        w: u8 = 4,
        /// bits of an activation, 1 to 8; 16 or more leaves activations float
        a: u8 = 8,
        /// weights that share a scale, along the sum; 0 is one scale per output channel
        group: usize = 0,
        /// one more level than w bits have, stored in one bit more: 5 levels for w=2
        balance: bool = false,
        /// levels of activations: unsigned (with a zero point), signed
        a_levels: String = "unsigned".to_string(),
        /// how often every sample is seen
        epochs: usize = 20,
        /// step size of scales of channels
        scale_rate: f64 = 5e-3,
        /// step size of clips
        clip_rate: f64 = 1e-2,
        /// step size of the correction of rank one
        compensation_rate: f64 = 1e-2,
        /// how much of the difference between channels weights take at first
        alpha: f64 = 0.5,
        /// first blocks whose last product gets a correction of rank one
        first: usize = 3,
        /// last blocks whose last product gets one
        last: usize = 4,
        /// compare attention too
        attention: bool = true,
        /// compare outputs by squared distance too
        squares: bool = true,
    }
}

impl Pass for Abq {
    fn run(&self, _: &mut Editor<'_>, _: &mut PassContext<'_>) -> Result<(), PassError> {
        Ok(())
    }

    fn run_module(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        self.check()?;
        let exact = module.clone();
        let entry = module.entry;
        let found = blocks(&Editor::new(module, entry));
        let blocks = match found {
            Ok(blocks) => blocks,
            Err(why) => {
                let Some(node) = exact.main().node_ids().next() else { return Ok(()) };
                cx.remark(exact.main(), node, why);
                return Ok(());
            }
        };
        if cx.calibration.is_empty() {
            let error = Diagnostic::input("abq::uncalibrated", "pass `abq` needs calibration data");
            return Err(error.help("give data with --calib FILE").into());
        }
        let mut training = train::Training::new(self, &exact, &blocks, cx)?;
        for (index, block) in blocks.iter().enumerate() {
            if !cx.take() {
                break;
            }
            let trained = training.block(index, module, cx)?;
            self.place(&mut Editor::new(module, entry), block, &trained)?;
            cx.layer(self.report(&exact, block, &trained));
        }
        release_constants(module);
        Ok(())
    }
}

impl Abq {
    fn check(&self) -> Result<(), PassError> {
        let fits = (1..=8).contains(&self.w) && self.stored_bits() <= 8 && (self.a >= 16 || (1..=8).contains(&self.a));
        if !fits {
            let message = format!("pass `abq` cannot take w={}, a={}: both have 1 to 8 bits", self.w, self.a);
            return Err(Diagnostic::input("abq::bits", message).into());
        }
        match Levels::from_name(&self.a_levels) {
            Some(Levels::Unsigned | Levels::Signed) => Ok(()),
            _ => Err(Diagnostic::input("abq::levels", format!("pass `abq` does not know a_levels={}", self.a_levels))
                .help("levels of activations are unsigned, signed")
                .into()),
        }
    }
    /// What a product reads of `x`: its rows in codes, unless activations stay float.
    fn activations(&self, x: impl Into<Term>) -> Term {
        if self.a >= 16 {
            return x.into();
        }
        let levels = Levels::from_name(&self.a_levels).unwrap_or(Levels::Unsigned);
        let to = QuantType { bits: self.a, levels, granularity: Granularity::Row, zero_point: levels == Levels::Unsigned };
        apply(Dequantize {}, [apply(Quantize { to, clip: None }, [x.into()])])
    }
    /// Steps between the smallest level and the largest, which is also the largest code.
    fn steps(&self) -> f64 {
        let levels = 1u32 << self.w;
        f64::from(if self.balance { levels } else { levels - 1 })
    }
    fn stored_bits(&self) -> u8 {
        self.w + u8::from(self.balance)
    }
    /// Weights per scale.
    fn group_of(&self, site: &Site) -> usize {
        if self.group == 0 || self.group >= site.cols { site.cols } else { self.group }
    }
    fn rounding(&self) -> Rounding {
        Rounding { bits: self.stored_bits(), levels: Levels::Unsigned, search: false, half_scales: self.group > 0 }
    }
    /// Bits per weight of a product.
    fn stored(&self, site: &Site) -> f64 {
        let levels = Levels::from_name(&self.a_levels).unwrap_or(Levels::Unsigned);
        let format = Format { rounding: self.rounding(), group: self.group };
        let activations = (self.a < 16).then_some(Activations { bits: self.a, levels, group: 0 });
        stored_bits(site, &format, activations) as f64 / site.elements()
    }

    /// Puts what was learned into the model.
    fn place(&self, editor: &mut Editor<'_>, block: &Block, trained: &Trained) -> Result<(), PassError> {
        for (norm, scale) in [(block.norm1, &trained.qkv), (block.norm2, &trained.mlp)] {
            let gain = query::constant(editor, editor[norm].inputs[1]).and_then(Constant::to_f32s).unwrap_or_default();
            let divided: Vec<f32> = gain.iter().zip(scale).map(|(gain, scale)| gain / scale).collect();
            let gain = editor.constant_value(Constant::f32s(&[divided.len()], &divided));
            editor.set_operand(norm, 1, gain);
        }
        for (site, weight) in block.sites().iter().zip(&trained.weights) {
            let product = apply(Matmul { transpose_a: false, transpose_b: true }, [self.activations(site.x), self.weight(site, weight)]);
            term::replace(editor, site.node, product)?;
        }
        Ok(())
    }
    fn weight(&self, site: &Site, [codes, scales, zeros]: &[Vec<f32>; 3]) -> Term {
        let codes: Vec<u8> = codes.iter().map(|&code| code as u8).collect();
        let stored = |scale: f32| if self.group > 0 { f16::from_f32(scale).to_f32() } else { scale };
        let grids = scales.iter().zip(zeros).map(|(&scale, &zero)| Grid { scale: stored(scale), zero_point: zero as i32 });
        let grids: Vec<Grid> = grids.collect();
        let group = if self.group_of(site) == site.cols { 0 } else { self.group };
        apply(Dequantize {}, [Term::Const(weights::constant(site.rows, site.cols, &codes, &grids, self.rounding(), group))])
    }
    fn report(&self, exact: &Module, block: &Block, trained: &Trained) -> LayerReport {
        LayerReport {
            name: exact.main()[block.down.node].loc.to_string(),
            rows: block.down.rows,
            cols: block.down.cols,
            bits: self.stored_bits(),
            levels: self.rounding().levels.name().to_string(),
            stored: self.stored(&block.down),
            predicted: None,
            rounder: "abq".into(),
            loss: trained.error,
            heldout: None,
        }
    }
}
