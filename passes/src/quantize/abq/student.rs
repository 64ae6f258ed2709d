//! A block as it is trained: float weights with learnable scales, clips and a correction of rank one, rounded within the graph.
//!
//! Of a weight `W [n, k]`: `W' = W * columns / rows + a bᵀ`, then per group `max' = sigmoid(u) max W'`, `min' = sigmoid(l) min W'`,
//! `s = (max' - min') / steps`, `z = round(-min'/s)`, `q = clamp(round(W'/s) + z, 0, top)`, `Ŵ = (q - z) s`.

use super::Abq;
use super::adam::Parameter;
use super::blocks::Block;
use super::peaks::Peaks;
use crate::grad::expr::{Builder, Expr, apply};
use crate::pass::PassError;
use crate::quantize::sites::Site;
use crate::term;
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{Concat, Reduce, ReduceKind, UnaryKind};
use mokume_ir::types::{Elem, Shape, Type};

/// Smallest and largest scale of a group.
const SCALES: (f64, f64) = (1e-5, 1e4);
/// Scales of channels stay above this.
const LEAST: f32 = 1e-2;
/// What the sigmoids of clips begin with: 0.982.
const UNCLIPPED: f32 = 4.0;

/// Sizes of a block.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Heads of queries.
    pub queries: usize,
    /// Heads of keys and values.
    pub keys: usize,
    /// Elements of a key.
    pub size: usize,
    /// Elements of a value.
    pub value: usize,
}

impl Heads {
    /// Those of an attention.
    ///
    /// Errors  when they are no numbers.
    pub fn of(editor: &Editor<'_>, block: &Block) -> Result<Self, String> {
        let size = |operand: usize, axis: usize| {
            let dim = editor.ty(editor[block.attention].inputs[operand]).dims().and_then(|dims| dims.get(axis)?.known());
            dim.map(|size| size as usize).ok_or_else(|| "sizes of heads are known at run time only".to_string())
        };
        Ok(Heads { queries: size(0, 1)?, keys: size(1, 1)?, size: size(1, 3)?, value: size(2, 3)? })
    }
    fn shared(&self) -> usize {
        self.queries / self.keys
    }
    /// Of numbers per channel of all queries, those of the first query of every key.
    fn first_of_each(&self, numbers: &[f32]) -> Vec<f32> {
        numbers.chunks(self.shared() * self.value).flat_map(|group| &group[..self.value]).copied().collect()
    }
    /// Numbers per channel of the values, for all queries that share them.
    fn for_queries(&self, scale: &Expr) -> Expr {
        let [keys, shared, value] = [self.keys, self.shared(), self.value];
        let apart = scale.reshape(&[keys, 1, value].map(Dim::from));
        apart.broadcast(&[keys, shared, value].map(Dim::from)).reshape(&[Dim::from(keys * shared * value)])
    }
}

/// Makes the module of a block a student; gives what it learns.
pub struct Student<'s, 'm> {
    pub editor: &'s mut Editor<'m>,
    pub block: &'s Block,
    pub heads: Heads,
    pub options: &'s Abq,
    /// Whether down gets a correction of rank one.
    pub compensated: bool,
    pub parameters: Vec<Parameter>,
    /// Codes, scales and zero points of every product.
    pub results: Vec<[ValueId; 3]>,
}

/// Scales of the rows and columns of a weight.
#[derive(Default)]
struct Scales {
    rows: Option<Expr>,
    columns: Option<Expr>,
}

impl Student<'_, '_> {
    /// Rewrites norms and products.
    ///
    /// Errors  when a weight cannot be grouped.
    pub fn build(&mut self, peaks: &Peaks) -> Result<(), PassError> {
        let block = self.block.clone();
        let (s_qkv, s_mlp) = (
            self.scale("s_qkv", peaks.start(&peaks.qkv, &peaks.q_columns)),
            self.scale("s_mlp", peaks.start(&peaks.mlp, &peaks.up_columns)),
        );
        let s_out = self.scale("s_out", self.heads.first_of_each(&peaks.start(&peaks.out, &peaks.o_columns)));
        let s_down = self.scale("s_down", peaks.start(&peaks.down, &peaks.down_columns));
        self.divide_gain(block.norm1, &s_qkv)?;
        self.divide_gain(block.norm2, &s_mlp)?;
        let (q_rows, k_rows) = self.turning_scales(&block);
        let inverse = |scale: &Expr| scale.unary(UnaryKind::Reciprocal);
        let shared = self.heads.for_queries(&s_out);
        let scales = [
            Scales { rows: q_rows, columns: Some(s_qkv.clone()) },
            Scales { rows: k_rows, columns: Some(s_qkv.clone()) },
            Scales { rows: Some(inverse(&s_out)), columns: Some(s_qkv) },
            Scales { rows: None, columns: Some(shared) },
            Scales { rows: None, columns: Some(s_mlp.clone()) },
            Scales { rows: Some(inverse(&s_down)), columns: Some(s_mlp) },
            Scales { rows: None, columns: Some(s_down) },
        ];
        for (index, (site, scales)) in block.sites().into_iter().zip(scales).enumerate() {
            let correction = (index == 6 && self.compensated).then(|| self.correction(&site));
            self.product(index, &site, scales, correction)?;
        }
        Ok(())
    }

    /// A learnable scale per channel.
    fn scale(&mut self, name: &str, start: Vec<f32>) -> Expr {
        let rate = self.options.scale_rate as f32;
        self.learn(Parameter::new(name, &[start.len()], start, rate).at_least(LEAST)).into()
    }

    fn learn(&mut self, parameter: Parameter) -> ValueId {
        let ty = Type::tensor(Shape::known(&parameter.dims), Elem::F32);
        let value = self.editor.add_input(parameter.name.clone(), ty);
        self.parameters.push(parameter);
        value
    }

    /// Scales of the rows of queries and keys that cancel out, where rotation lets them: both halves of a head share one.
    fn turning_scales(&mut self, block: &Block) -> (Option<Expr>, Option<Expr>) {
        if !block.halves {
            return (None, None);
        }
        let (keys, half) = (self.heads.keys, self.heads.size / 2);
        let rate = self.options.scale_rate as f32;
        let name = Parameter::new("s_qk", &[keys, 1, half], vec![1.0; keys * half], rate).at_least(LEAST);
        let scale: Expr = self.learn(name).into();
        let whole = apply(Concat { axis: 2 }, [scale.clone(), scale]);
        let flat = |size: usize| [Dim::from(size)];
        let repeated = whole.broadcast(&[keys, self.heads.shared(), 2 * half].map(Dim::from)).reshape(&flat(self.heads.queries * 2 * half));
        let own = whole.reshape(&flat(keys * 2 * half)).unary(UnaryKind::Reciprocal);
        (Some(repeated), Some(own))
    }

    fn divide_gain(&mut self, norm: NodeId, scale: &Expr) -> Result<(), PassError> {
        let gain = self.editor[norm].inputs[1];
        let divided = self.value(&(Expr::from(gain) / scale.clone()))?;
        self.editor.set_operand(norm, 1, divided);
        Ok(())
    }

    /// `a bᵀ`, with a = 0 and b = 1 at first.
    fn correction(&mut self, site: &Site) -> Expr {
        let rate = self.options.compensation_rate as f32;
        let a = self.learn(Parameter::new("a", &[site.rows, 1], vec![0.0; site.rows], rate));
        let b = self.learn(Parameter::new("b", &[1, site.cols], vec![1.0; site.cols], rate));
        Expr::from(a) * Expr::from(b)
    }

    /// The product with its weight and activations rounded.
    fn product(&mut self, index: usize, site: &Site, scales: Scales, correction: Option<Expr>) -> Result<(), PassError> {
        let weight: Expr = self.editor[site.node].inputs[1].into();
        let mut weight = if site.transposed { weight.transpose(&[1, 0]) } else { weight };
        if let Some(columns) = scales.columns {
            weight = weight * columns;
        }
        if let Some(rows) = scales.rows {
            weight = weight * rows.reshape(&[site.rows.into(), 1i64.into()]);
        }
        if let Some(correction) = correction {
            weight = weight + correction;
        }
        let rounded = self.rounded(index, site, &weight)?;
        let loc = self.editor[site.node].loc.clone();
        let x: Expr = term::build(self.editor, self.options.activations(site.x), &loc)?.into();
        let product = x.matmul(&rounded, (false, true));
        Ok(Builder::new(self.editor, Elem::F32, loc).rewrite(site.node, &product)?)
    }

    fn rounded(&mut self, index: usize, site: &Site, weight: &Expr) -> Result<Expr, PassError> {
        let size = self.options.group_of(site);
        let groups = site.cols / size;
        let name = |what: &str| format!("{what}.{index}");
        let rate = self.options.clip_rate as f32;
        let mut clip = |what: &str| -> Expr {
            let start = vec![UNCLIPPED; site.rows * groups];
            Expr::from(self.learn(Parameter::new(name(what), &[site.rows, groups, 1], start, rate))).unary(UnaryKind::Sigmoid)
        };
        let (clip_high, clip_low) = (clip("clip_high"), clip("clip_low"));
        let grouped: Expr = self.value(&weight.reshape(&[site.rows, groups, size].map(Dim::from)))?.into();
        let peak = |kind| apply(Reduce { kind, axes: Ints::of([2]), all: false, keep_dims: true }, [grouped.clone()]);
        let (high, low) = (clip_high * peak(ReduceKind::Max), clip_low * peak(ReduceKind::Min));
        let scale = ((high - low.clone()) * (1.0 / self.options.steps())).max(SCALES.0).min(SCALES.1);
        let scale: Expr = self.value(&scale)?.into();
        // Rounded down after adding a half: `round` is what gradients pass through, and this must stay constant.
        let zero = ((-low / scale.clone()).max(-1e4).min(1e4) + 0.5).unary(UnaryKind::Floor);
        let zero: Expr = self.value(&zero)?.into();
        let level = (grouped / scale.clone()).unary(UnaryKind::Round) + zero.clone();
        let codes = self.value(&level.max(0.0).min(self.options.steps()))?;
        let result = [codes, self.value(&scale)?, self.value(&zero)?];
        self.results.push(result);
        Ok(((Expr::from(codes) - zero) * scale).reshape(&[site.rows, site.cols].map(Dim::from)))
    }

    fn value(&mut self, expr: &Expr) -> Result<ValueId, PassError> {
        Ok(Builder::new(self.editor, Elem::F32, Default::default()).build(expr)?)
    }
}
