//! One step of a recurrent cell.

use super::OpError;
use super::gemm::{Matrix, Sizes, Target, product};
use super::real::Real;
use super::shared::Shared;
use mokume_ir::op::{Recurrent, RnnKind};

/// Hidden and cell state of one direction, `[batch, hidden]`.
pub struct State<'a, T> {
    /// Hidden state.
    pub h: &'a mut [T],
    /// Cell state; LSTM only.
    pub c: &'a mut [T],
}

/// The weights of one direction.
pub struct Cell<'a, T> {
    /// Settings.
    pub op: &'a Recurrent,
    /// Size of the hidden state.
    pub hidden: usize,
    /// `[gates * hidden, hidden]`
    pub r: &'a [T],
    /// Biases of the input's gates, then of the state's.
    pub bias: Option<&'a [T]>,
    /// Weights from the cell state to the gates i, o, f.
    pub peephole: Option<&'a [T]>,
    /// Activation functions.
    pub activations: &'a Activations,
}

impl<T: Real> Cell<'_, T> {
    /// Biases added to the input's share: all, except the state's bias of the gate that GRU multiplies by the reset gate.
    pub fn input_bias(&self) -> Vec<T> {
        let Some(bias) = self.bias else { return vec![T::ZERO; self.r.len() / self.hidden] };
        let (input, state) = bias.split_at(bias.len() / 2);
        let kept = if self.resets_product() { 2 * self.hidden } else { state.len() };
        input.iter().enumerate().map(|(i, &b)| if i < kept { b + state[i] } else { b }).collect()
    }
    /// Advances the sequences that are `live`; `gates [batch, gates * hidden]` holds the input's share.
    pub fn step(&self, gates: &mut [T], state: &mut State<'_, T>, live: impl Fn(usize) -> bool) {
        match self.op.kind {
            RnnKind::Lstm => self.lstm(gates, state, live),
            RnnKind::Gru => self.gru(gates, state, live),
            RnnKind::Rnn => {
                self.add_product(state.h, 0..1, gates);
                for (b, gates) in gates.chunks_mut(self.hidden).enumerate().filter(|(b, _)| live(*b)) {
                    self.activate(0, gates);
                    state.h[b * self.hidden..][..self.hidden].copy_from_slice(gates);
                }
            }
        }
    }

    fn resets_product(&self) -> bool {
        self.op.kind == RnnKind::Gru && self.op.linear_before_reset
    }
    fn width(&self) -> usize {
        self.r.len() / self.hidden
    }
    /// Adds `h · rᵀ` of some gates.
    fn add_product(&self, h: &[T], some: std::ops::Range<usize>, gates: &mut [T]) {
        let (width, hidden) = (self.width(), self.hidden);
        let sizes = Sizes { m: h.len() / hidden, n: some.len() * hidden, k: hidden };
        let r = Matrix { data: &self.r[some.start * hidden * hidden..], rows: 1, cols: hidden };
        let target = Target { start: some.start * hidden, rows: width, add: true };
        // SAFETY: the gates belong to this call.
        unsafe { product(sizes, Matrix { data: h, rows: hidden, cols: 1 }, r, &Shared::new(gates), target, true) };
    }
    /// Clips and applies activation number `number`.
    fn activate(&self, number: usize, gate: &mut [T]) {
        if self.op.clip > 0.0 {
            let clip = T::of(self.op.clip as f64);
            gate.iter_mut().for_each(|x| *x = x.min(clip).max(-clip));
        }
        self.activations.apply(number, gate);
    }

    fn lstm(&self, gates: &mut [T], state: &mut State<'_, T>, live: impl Fn(usize) -> bool) {
        self.add_product(state.h, 0..4, gates);
        let hidden = self.hidden;
        for (b, gates) in gates.chunks_mut(4 * hidden).enumerate().filter(|(b, _)| live(*b)) {
            let (h, c) = (&mut state.h[b * hidden..][..hidden], &mut state.c[b * hidden..][..hidden]);
            self.peep(0, c, &mut gates[..hidden]);
            self.peep(2, c, &mut gates[2 * hidden..3 * hidden]);
            self.activate(0, &mut gates[..hidden]);
            self.activate(0, &mut gates[2 * hidden..3 * hidden]);
            self.activate(1, &mut gates[3 * hidden..]);
            for j in 0..hidden {
                let (i, new) = (gates[j], gates[3 * hidden + j]);
                let forget = if self.op.input_forget { T::ONE - i } else { gates[2 * hidden + j] };
                c[j] = forget * c[j] + i * new;
            }
            self.peep(1, c, &mut gates[hidden..2 * hidden]);
            self.activate(0, &mut gates[hidden..2 * hidden]);
            h.copy_from_slice(c);
            self.activations.apply(2, h);
            h.iter_mut().zip(&gates[hidden..]).for_each(|(h, &o)| *h *= o);
        }
    }
    /// Adds the cell state's share to gate `gate`.
    fn peep(&self, gate: usize, c: &[T], to: &mut [T]) {
        if let Some(p) = self.peephole {
            to.iter_mut().zip(c).zip(&p[gate * self.hidden..]).for_each(|((to, &c), &p)| *to += p * c);
        }
    }

    fn gru(&self, gates: &mut [T], state: &mut State<'_, T>, live: impl Fn(usize) -> bool) {
        let (hidden, width) = (self.hidden, 3 * self.hidden);
        self.add_product(state.h, 0..2, gates);
        let mut share = vec![T::ZERO; gates.len()];
        let mut scaled = state.h.to_vec();
        for (b, gates) in gates.chunks_mut(width).enumerate() {
            self.activate(0, &mut gates[..2 * hidden]);
            if !self.op.linear_before_reset {
                scaled[b * hidden..][..hidden].iter_mut().zip(&gates[hidden..]).for_each(|(h, &reset)| *h *= reset);
            }
            if let Some(bias) = self.bias.filter(|_| self.resets_product()) {
                share[b * width + 2 * hidden..][..hidden].copy_from_slice(&bias[width + 2 * hidden..]);
            }
        }
        self.add_product(&scaled, 2..3, &mut share);
        for (b, gates) in gates.chunks_mut(width).enumerate().filter(|(b, _)| live(*b)) {
            let share = &share[b * width + 2 * hidden..][..hidden];
            for j in 0..hidden {
                let reset = if self.op.linear_before_reset { gates[hidden + j] } else { T::ONE };
                gates[2 * hidden + j] += reset * share[j];
            }
            self.activate(1, &mut gates[2 * hidden..]);
            let h = &mut state.h[b * hidden..][..hidden];
            h.iter_mut().enumerate().for_each(|(j, h)| *h = (T::ONE - gates[j]) * gates[2 * hidden + j] + gates[j] * *h);
        }
    }
}

/// The activation functions of one direction.
pub struct Activations(Vec<Activation>);

struct Activation {
    name: String,
    alpha: f64,
    beta: f64,
}

impl Activations {
    /// Those of a direction: given, or the defaults of the cell.
    ///
    /// Errors  for unknown names, or when some are missing.
    pub fn new(op: &Recurrent, direction: usize) -> Result<Self, OpError> {
        let defaults: &[&str] = match op.kind {
            RnnKind::Lstm => &["sigmoid", "tanh", "tanh"],
            RnnKind::Gru => &["sigmoid", "tanh"],
            RnnKind::Rnn => &["tanh"],
        };
        if op.activations.is_empty() {
            return Ok(Activations(defaults.iter().map(|name| Activation { name: (*name).into(), alpha: 0.0, beta: 0.0 }).collect()));
        }
        let parameter = |values: &[f32], at: usize| values.get(at).copied().filter(|v| !v.is_nan()).map(f64::from);
        let one = |at: usize| {
            let name = op.activations.get(at).ok_or_else(|| OpError::operands("too few recurrent activations"))?;
            let (alpha, beta) = default_parameters(name)?;
            let (alpha, beta) = (parameter(&op.alphas, at).unwrap_or(alpha), parameter(&op.betas, at).unwrap_or(beta));
            Ok(Activation { name: name.clone(), alpha, beta })
        };
        let first = direction * defaults.len();
        Ok(Activations((first..first + defaults.len()).map(one).collect::<Result<_, _>>()?))
    }
    /// Applies function number `number`.
    pub fn apply<T: Real>(&self, number: usize, x: &mut [T]) {
        let Activation { name, alpha, beta } = &self.0[number];
        let (a, b, one) = (T::of(*alpha), T::of(*beta), T::ONE);
        let each = |f: &dyn Fn(T) -> T, x: &mut [T]| x.iter_mut().for_each(|x| *x = f(*x));
        match name.as_str() {
            "sigmoid" => each(&|x| one / (one + (-x).exp()), x),
            "tanh" => each(&T::tanh, x),
            "relu" => each(&|x| x.max(T::ZERO), x),
            "affine" => each(&|x| a * x + b, x),
            "leakyrelu" => each(&|x| if x < T::ZERO { a * x } else { x }, x),
            "thresholdedrelu" => each(&|x| if x > a { x } else { T::ZERO }, x),
            "scaledtanh" => each(&|x| a * (b * x).tanh(), x),
            "hardsigmoid" => each(&|x| (a * x + b).min(one).max(T::ZERO), x),
            "elu" => each(&|x| if x < T::ZERO { a * (x.exp() - one) } else { x }, x),
            "softsign" => each(&|x| x / (one + x.abs()), x),
            _ => each(&|x| x.max(T::ZERO) + (one + (-x.abs()).exp()).ln(), x),
        }
    }
}

/// Default alpha and beta, as in the ONNX operator documentation.
fn default_parameters(name: &str) -> Result<(f64, f64), OpError> {
    match name {
        "sigmoid" | "tanh" | "relu" | "softsign" | "softplus" => Ok((0.0, 0.0)),
        "affine" | "scaledtanh" => Ok((1.0, 1.0)),
        "leakyrelu" => Ok((0.01, 0.0)),
        "thresholdedrelu" | "elu" => Ok((1.0, 0.0)),
        "hardsigmoid" => Ok((0.2, 0.5)),
        other => Err(OpError::unsupported(format!("recurrent activation `{other}`"))),
    }
}
