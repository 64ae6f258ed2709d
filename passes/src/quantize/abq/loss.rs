//! What a student is to come near to: the outputs of the float block, by direction and by distance, and its attention.
//!
//! ```text
//! DLC = -ln |mean cos(Y, T1)| - ln |mean cos(Y, T2)|       T1: float block on the float stream, T2: on the student's
//! MSE = mean (Y - T1)² + mean (Y - T2)²
//! AKL = mean over rows of Σ (p - q) (ln p - ln q)          p: attention of the float model, q: of the student
//! ```
//!
//! Source  Zeng et al., "ABQ-LLM", 2024, eq. 4-6; the squared distances stand in its published code only.

use super::Abq;
use crate::grad::expr::Expr;
use mokume_ir::op::UnaryKind;

/// Probabilities below this count as this within logarithms.
const TINY: f64 = 1e-12;

/// What a loss compares.
pub struct Compared {
    /// The student's output `[b, s, h]`.
    pub output: Expr,
    /// Outputs of the float block.
    pub targets: [Expr; 2],
    /// The student's attention `[b, heads, s, t]`.
    pub attention: Expr,
    /// The float model's.
    pub target_attention: Expr,
}

impl Compared {
    /// The loss, a scalar.
    pub fn loss(&self, options: &Abq) -> Expr {
        let [first, second] = &self.targets;
        let mut loss = self.direction(first) + self.direction(second);
        if options.squares {
            loss = loss + self.distance(first) + self.distance(second);
        }
        if options.attention {
            loss = loss + self.divergence();
        }
        loss
    }
    fn direction(&self, target: &Expr) -> Expr {
        let dot = |a: &Expr, b: &Expr| (a.clone() * b.clone()).sum([2]);
        let lengths = dot(&self.output, &self.output) * dot(target, target);
        let cosine = (dot(&self.output, target) * lengths.unary(UnaryKind::Rsqrt)).mean([0, 1]);
        -cosine.unary(UnaryKind::Abs).unary(UnaryKind::Log).reshape(&[])
    }
    fn distance(&self, target: &Expr) -> Expr {
        (self.output.clone() - target.clone()).squared().mean([0, 1, 2]).reshape(&[])
    }
    fn divergence(&self) -> Expr {
        let log = |p: &Expr| p.max(TINY).unary(UnaryKind::Log);
        let (p, q) = (&self.target_attention, &self.attention);
        let rows = ((p.clone() - q.clone()) * (log(p) - log(q))).sum([3]);
        rows.mean([0, 1, 2]).reshape(&[])
    }
}
