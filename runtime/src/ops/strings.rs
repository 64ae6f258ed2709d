//! Strings: moved and compared through their ranks, so that no other op knows of them.

use super::{OpContext, OpError, basic};
use crate::tensor::Tensor;
use mokume_ir::op::Op;
use mokume_ir::types::Elem;

/// Runs `op` with every string replaced by its rank among all operands (0 is the empty string), and ranks in the results by strings.
pub fn through_ranks(op: &Op, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    if !(0..inputs.len()).all(|i| (inputs[i].elem() == Elem::String) == holds_text(op, i)) {
        return Err(OpError::operands(format!("{} of {inputs:?}", op.name())));
    }
    let texts = distinct(inputs);
    let ranked: Vec<Tensor> = inputs.iter().map(|x| if x.elem() == Elem::String { ranks(x, &texts) } else { (*x).clone() }).collect();
    let mut outputs = basic::run(op, &ranked.iter().collect::<Vec<_>>(), cx).unwrap_or_else(|| Err(OpError::unsupported(op.name())))?;
    let named = match op {
        Op::Binary(_) => 0,
        Op::Unique(_) => 1,
        _ => outputs.len(),
    };
    for output in &mut outputs[..named] {
        *output = by_rank(output, &texts);
    }
    Ok(outputs)
}

/// Whether operand `index` is one of those whose elements the op moves or compares, rather than indices, sizes or flags.
fn holds_text(op: &Op, index: usize) -> bool {
    match op {
        Op::Concat(_) | Op::Binary(_) => true,
        Op::Select(_) => index == 1 || index == 2,
        Op::Pad(pad) => index == 0 || (pad.value && index == 1),
        Op::OneHot(_) => index == 2,
        Op::ScatterElements(_) | Op::ScatterNd(_) => index == 0 || index == 2,
        _ => index == 0,
    }
}

/// Every string of the operands once, and the empty one, in ascending order.
fn distinct(inputs: &[&Tensor]) -> Vec<String> {
    let mut texts: Vec<String> = inputs.iter().flat_map(|x| x.string_slice()).cloned().collect();
    texts.push(String::new());
    texts.sort_unstable();
    texts.dedup();
    texts
}

fn ranks(x: &Tensor, texts: &[String]) -> Tensor {
    let rank = |text: &String| texts.binary_search(text).unwrap_or_default() as i64;
    Tensor::i64s(x.dims(), &x.string_slice().iter().map(rank).collect::<Vec<_>>())
}

fn by_rank(x: &Tensor, texts: &[String]) -> Tensor {
    Tensor::strings(x.dims(), x.slice::<i64>().iter().map(|&rank| texts[rank as usize].clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};
    use mokume_ir::attr::Ints;
    use mokume_ir::op::{BinaryKind, Concat, Pad, PadMode, Unique};

    fn words(values: &[&str]) -> Tensor {
        Tensor::strings(&[values.len()], values.iter().map(|text| text.to_string()).collect())
    }

    #[test]
    fn strings_move_and_compare() {
        let (a, b) = (words(&["b", "a", "b"]), words(&["c", "a", ""]));
        assert_eq!(run(Concat { axis: 0 }, &[&a, &b])[0].string_slice(), ["b", "a", "b", "c", "a", ""]);
        assert_eq!(run(Unique { axis: None, sorted: true }, &[&a])[0].string_slice(), ["a", "b"]);
        assert_eq!(run(Op::Binary(BinaryKind::Eq), &[&a, &b])[0].slice::<u8>(), [0, 1, 0]);
        let pad = Pad { mode: PadMode::Constant, pads: Ints::of([1, 0]), axes: Ints::of([0]), value: false };
        assert_eq!(run(pad, &[&a])[0].string_slice(), ["", "b", "a", "b"]);
        assert!(fails(Op::Binary(BinaryKind::Add), &[&a, &b]));
    }
}
