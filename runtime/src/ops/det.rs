//! Determinants, by elimination with partial pivoting in f64.

use super::layout::operands;
use super::{OpContext, OpError, cast};
use crate::tensor::Tensor;
use mokume_ir::types::Elem;

/// Runs a det.
pub fn det(inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let [batch @ .., n, columns] = x.dims() else { return Err(OpError::operands(format!("det of {x:?}"))) };
    if n != columns || !x.elem().is_float() {
        return Err(OpError::operands(format!("det of {x:?}")));
    }
    let exact = cast::convert(x, Elem::F64, false, cx)?;
    let mut out = cx.alloc(batch, Elem::F64)?;
    for (i, out) in out.slice_mut::<f64>().iter_mut().enumerate() {
        *out = eliminate(exact.slice::<f64>()[i * n * n..(i + 1) * n * n].to_vec(), *n);
    }
    Ok(vec![cast::convert(&out, x.elem(), false, cx)?])
}

fn eliminate(mut a: Vec<f64>, n: usize) -> f64 {
    let mut product = 1.0;
    for k in 0..n {
        let Some(pivot) = (k..n).max_by(|&i, &j| a[i * n + k].abs().total_cmp(&a[j * n + k].abs())) else { break };
        if a[pivot * n + k] == 0.0 {
            return 0.0;
        }
        if pivot != k {
            (0..n).for_each(|j| a.swap(k * n + j, pivot * n + j));
            product = -product;
        }
        product *= a[k * n + k];
        for i in k + 1..n {
            let factor = a[i * n + k] / a[k * n + k];
            (k..n).for_each(|j| a[i * n + j] -= factor * a[k * n + j]);
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};
    use mokume_ir::op::Det;

    #[test]
    fn determinants() {
        let x = Tensor::f32s(&[3, 2, 2], &[1.0, 2.0, 3.0, 4.0, 0.0, 1.0, 1.0, 0.0, 1.0, 2.0, 2.0, 4.0]);
        let out = run(Det {}, &[&x]).remove(0);
        assert_eq!((out.dims(), out.slice::<f32>()), (&[3][..], &[-2.0, -1.0, 0.0][..]));
        assert_eq!(run(Det {}, &[&Tensor::f32s(&[0, 0], &[])])[0].slice::<f32>(), [1.0]);
        assert!(fails(Det {}, &[&Tensor::f32s(&[2, 3], &[0.0; 6])]));
    }
}
