//! Decoding with a language model: how fast tokens come one by one.

use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::Declared;
use mokume_runtime::session::{Outputs, Session};
use mokume_runtime::tensor::Tensor;
use std::time::Instant;

/// Tokens that are fed before the time counts.
const WARM: usize = 8;

/// Feeds tokens one by one, each the likeliest after the ones before, beginning with token 1; what came, and how fast.
pub fn decode(session: &mut Session, count: usize) -> Result<String, Report> {
    let mut tokens = vec![1];
    for _ in 0..WARM {
        tokens.push(next(session, &tokens)?);
    }
    let start = Instant::now();
    for _ in 0..count {
        tokens.push(next(session, &tokens)?);
    }
    let seconds = start.elapsed().as_secs_f64();
    let words: Vec<String> = tokens.iter().map(i64::to_string).collect();
    Ok(format!("tokens: {}\ntokens per second: {:.1}", words.join(" "), count as f64 / seconds))
}

/// The likeliest token after these. A model with state was fed all but the last before.
fn next(session: &mut Session, tokens: &[i64]) -> Result<i64, Report> {
    let new = if session.program().module.main().states.is_empty() { tokens.len() } else { 1 };
    let inputs = session.inputs().iter().map(|port| Ok((port.name.clone(), input(port, tokens, new)?)));
    let inputs = inputs.collect::<Result<Vec<_>, Diagnostic>>()?;
    likeliest(session.run(&inputs)?)
}

/// An input for the last `new` tokens.
fn input(port: &Declared, tokens: &[i64], new: usize) -> Result<Tensor, Diagnostic> {
    let total = tokens.len();
    match port.name.as_str() {
        "input_ids" => Ok(Tensor::i64s(&[1, new], &tokens[total - new..])),
        "attention_mask" => Ok(Tensor::i64s(&[1, total], &vec![1; total])),
        "position_ids" => Ok(Tensor::i64s(&[1, new], &(total - new..total).map(|at| at as i64).collect::<Vec<_>>())),
        name => Err(Diagnostic::input("run::decode", format!("the model asks for \"{name}\", which decoding does not have"))),
    }
}

fn likeliest(outputs: Outputs) -> Result<i64, Report> {
    let missing = || Diagnostic::input("run::decode", "the model gives no \"logits\" of f32");
    let logits = outputs.into_iter().find(|(name, _)| name == "logits").map(|(_, tensor)| tensor).ok_or_else(missing)?;
    if logits.elem() != mokume_ir::types::Elem::F32 {
        return Err(missing().into());
    }
    let width = logits.dims().last().copied().unwrap_or(0);
    let values = logits.slice::<f32>();
    let best = values[values.len() - width..].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).ok_or_else(missing)?;
    Ok(best.0 as i64)
}
