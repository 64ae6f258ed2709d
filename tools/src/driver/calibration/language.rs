//! Inputs of language models from tokens.

use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::dim::{Dim, Symbol};
use mokume_ir::types::{Elem, Type};
use mokume_runtime::tensor::Tensor;
use std::collections::BTreeMap;

/// Whether a model takes tokens.
pub fn takes_tokens(ports: &[(String, Type)]) -> bool {
    ports.iter().any(|(name, _)| name == "input_ids")
}

/// One run over `tokens`: mask of ones, positions from 0, segment 0; past keys and values are empty.
///
/// Errors  `calibration::input` for an input that tokens give no values for.
pub fn inputs(ports: &[(String, Type)], tokens: &[i64]) -> Result<Vec<(String, Tensor)>, Report> {
    let Some((_, ids)) = ports.iter().find(|(name, _)| name == "input_ids") else {
        let names: Vec<_> = ports.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let message = format!("the model has no input \"input_ids\" for tokens; it has {}", names.join(", "));
        return Err(Diagnostic::input("calibration::input", message).help("give its inputs in a .npz").into());
    };
    let sizes = sizes(ids, tokens.len())?;
    let value = |(name, ty): &(String, Type)| Ok((name.clone(), value(name, ty, tokens, &sizes)?));
    ports.iter().map(value).collect()
}

/// What the symbols of the type of tokens stand for.
fn sizes(ids: &Type, count: usize) -> Result<BTreeMap<Symbol, i64>, Report> {
    let [batch, length] = ids.dims().unwrap_or_default() else {
        return Err(Diagnostic::input("calibration::input", format!("input \"input_ids\" is {ids} instead of [batch, tokens]")).into());
    };
    if let Some(fixed) = length.known().filter(|&fixed| fixed != count as i64) {
        let finding = Diagnostic::input("calibration::window", format!("the model takes {fixed} tokens and a window has {count}"));
        return Err(finding.help(format!("--calib-window {fixed}")).into());
    }
    let known = [(batch, 1), (length, count as i64)].into_iter();
    Ok(known.filter_map(|(dim, size)| Some((dim.as_symbol()?.clone(), size))).collect())
}

fn value(name: &str, ty: &Type, tokens: &[i64], sizes: &BTreeMap<Symbol, i64>) -> Result<Tensor, Report> {
    let count = tokens.len();
    let values = match name {
        "input_ids" => tokens.to_vec(),
        "attention_mask" => vec![1; count],
        "position_ids" => (0..count as i64).collect(),
        "token_type_ids" => vec![0; count],
        _ => return empty(ty, sizes).ok_or_else(|| without_values(name, ty)),
    };
    match ty.elem() {
        Some(Elem::I64) => Ok(Tensor::i64s(&[1, count], &values)),
        Some(Elem::I32) => {
            let mut tensor = Tensor::zeros(&[1, count], Elem::I32);
            tensor.slice_mut::<i32>().iter_mut().zip(values).for_each(|(to, from)| *to = from as i32);
            Ok(tensor)
        }
        _ => Err(without_values(name, ty)),
    }
}

/// What is past when nothing was before: sizes that the tokens do not give are 0.
fn empty(ty: &Type, sizes: &BTreeMap<Symbol, i64>) -> Option<Tensor> {
    let size = |dim: &Dim| dim.eval(&|symbol| Some(sizes.get(symbol).copied().unwrap_or(0))).and_then(|size| usize::try_from(size).ok());
    let dims = ty.dims()?.iter().map(size).collect::<Option<Vec<_>>>()?;
    dims.contains(&0).then(|| Tensor::zeros(&dims, ty.elem()?).into()).flatten()
}

fn without_values(name: &str, ty: &Type) -> Report {
    let finding = Diagnostic::input("calibration::input", format!("tokens give no values for input \"{name}\", which is {ty}"));
    finding.help("give the inputs of the model in a .npz").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mokume_ir::text;

    fn ports(types: &str) -> Vec<(String, Type)> {
        let source = format!("module \"m\"\n\ngraph @f0 \"main\"({types}) -> (\"y\") {{\n  return %0\n}}\n");
        let module = text::parse(&source, &text::no_data).unwrap();
        super::super::ports(&module)
    }

    #[test]
    fn every_input_of_an_export_with_past_has_a_value() {
        let ports = ports(
            "%0 \"input_ids\": tensor<b x s x i64>, %1 \"attention_mask\": tensor<b x past + s x i64>, %2 \"position_ids\": tensor<b x s x i32>, %3 \"past_key_values.0.key\": tensor<b x 3 x past x 4 x f32>",
        );
        let inputs = inputs(&ports, &[5, 6, 7]).unwrap();
        let dims: Vec<_> = inputs.iter().map(|(_, tensor)| tensor.dims()).collect();
        assert_eq!(dims, [&[1, 3][..], &[1, 3], &[1, 3], &[1, 3, 0, 4]]);
        assert_eq!(inputs[0].1.slice::<i64>(), [5, 6, 7]);
        assert_eq!(inputs[1].1.slice::<i64>(), [1, 1, 1]);
        assert_eq!(inputs[2].1.slice::<i32>(), [0, 1, 2]);
    }

    #[test]
    fn inputs_without_values_are_named() {
        let error = |types: &str| inputs(&ports(types), &[1, 2]).unwrap_err().to_string();
        assert!(error("%0 \"x\": tensor<n x f32>").contains("it has \"x\""));
        assert!(error("%0 \"input_ids\": tensor<b x s x i64>, %1 \"t\": tensor<4 x f32>").contains("input \"t\""));
        assert!(error("%0 \"input_ids\": tensor<1 x 8 x i64>").contains("--calib-window 8"));
    }
}
