//! Elementwise functions of two operands, broadcast.

use super::elementwise::{Kernel1, Kernel2, map, zip};
use super::lanes::{map1, map2};
use super::layout::{broadcast, operands};
use super::number::{Integer, Number, by_integer, by_number};
use super::{OpContext, OpError, cast};
use crate::tensor::{Scalar, Tensor};
use mokume_ir::op::BinaryKind;
use mokume_ir::types::Elem;

/// Runs a binary op. Operands of f16 and bf16 arrive as f32.
pub fn binary(kind: BinaryKind, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [a, b] = operands(inputs)?;
    let out = match kind {
        BinaryKind::Pow => pow(a, b, cx),
        _ if a.elem() != b.elem() => Err(OpError::operands(format!("{} of {} and {}", kind.name(), a.elem(), b.elem()))),
        _ if kind.is_comparison() => compare(kind, a, b, cx),
        _ => arithmetic(kind, a, b, cx),
    };
    Ok(vec![out?])
}

fn no_code(kind: BinaryKind, x: &Tensor) -> OpError {
    OpError::unsupported(format!("{} of {}", kind.name(), x.elem()))
}

fn compare(kind: BinaryKind, a: &Tensor, b: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let dims = broadcast(&[a.dims(), b.dims()])?;
    match a.elem() {
        Elem::Bool => zip((a, b), &dims, Elem::Bool, comparison::<u8>(kind), cx),
        elem => by_number!(elem, T => zip((a, b), &dims, Elem::Bool, comparison::<T>(kind), cx), _ => Err(no_code(kind, a))),
    }
}

fn comparison<T: Scalar>(kind: BinaryKind) -> Kernel2<T, T, u8> {
    match kind {
        BinaryKind::Eq => |a, b, out| map2(a, b, out, |a, b| (a == b).into()),
        BinaryKind::Lt => |a, b, out| map2(a, b, out, |a, b| (a < b).into()),
        BinaryKind::Le => |a, b, out| map2(a, b, out, |a, b| (a <= b).into()),
        BinaryKind::Gt => |a, b, out| map2(a, b, out, |a, b| (a > b).into()),
        _ => |a, b, out| map2(a, b, out, |a, b| (a >= b).into()),
    }
}

fn arithmetic(kind: BinaryKind, a: &Tensor, b: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let dims = broadcast(&[a.dims(), b.dims()])?;
    match a.elem() {
        Elem::Bool => zip((a, b), &dims, Elem::Bool, logical(kind).ok_or_else(|| no_code(kind, a))?, cx),
        elem @ Elem::F32 => zip((a, b), &dims, elem, numeric::<f32>(kind).ok_or_else(|| no_code(kind, a))?, cx),
        elem @ Elem::F64 => zip((a, b), &dims, elem, numeric::<f64>(kind).ok_or_else(|| no_code(kind, a))?, cx),
        elem => by_integer!(elem, T => {
            let kernel = numeric::<T>(kind).or_else(|| bitwise::<T>(kind)).ok_or_else(|| no_code(kind, a))?;
            zip((a, b), &dims, elem, kernel, cx)
        }, _ => Err(no_code(kind, a))),
    }
}

fn logical(kind: BinaryKind) -> Option<Kernel2<u8, u8, u8>> {
    Some(match kind {
        BinaryKind::And | BinaryKind::BitAnd | BinaryKind::Mul | BinaryKind::Min => |a, b, out| map2(a, b, out, |a, b| a & b),
        BinaryKind::Or | BinaryKind::BitOr | BinaryKind::Add | BinaryKind::Max => |a, b, out| map2(a, b, out, |a, b| a | b),
        BinaryKind::Xor | BinaryKind::BitXor => |a, b, out| map2(a, b, out, |a, b| a ^ b),
        _ => return None,
    })
}

fn numeric<T: Number>(kind: BinaryKind) -> Option<Kernel2<T, T, T>> {
    Some(match kind {
        BinaryKind::Add => |a, b, out| map2(a, b, out, T::add),
        BinaryKind::Sub => |a, b, out| map2(a, b, out, T::sub),
        BinaryKind::Mul => |a, b, out| map2(a, b, out, T::mul),
        BinaryKind::Div => |a, b, out| map2(a, b, out, T::div),
        BinaryKind::Mod => |a, b, out| map2(a, b, out, T::modulo),
        BinaryKind::Fmod => |a, b, out| map2(a, b, out, T::fmod),
        BinaryKind::Min => |a, b, out| map2(a, b, out, T::min),
        BinaryKind::Max => |a, b, out| map2(a, b, out, T::max),
        _ => return None,
    })
}

fn bitwise<T: Integer>(kind: BinaryKind) -> Option<Kernel2<T, T, T>> {
    Some(match kind {
        BinaryKind::BitAnd => |a, b, out| map2(a, b, out, T::and),
        BinaryKind::BitOr => |a, b, out| map2(a, b, out, T::or),
        BinaryKind::BitXor => |a, b, out| map2(a, b, out, T::xor),
        BinaryKind::Shl => |a, b, out| map2(a, b, out, T::shl),
        BinaryKind::Shr => |a, b, out| map2(a, b, out, T::shr),
        _ => return None,
    })
}

/// The result has the type of the base. Exponents of another type are converted: to the base's type, or both to f64 where an
/// integer has a float exponent.
fn pow(a: &Tensor, b: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    if let Some(kernel) = known_power(a, b) {
        return map(a, Elem::F32, kernel, cx);
    }
    let elem = a.elem();
    if elem.is_int() && b.elem().is_float() {
        let power = pow(&cast::convert(a, Elem::F64, false, cx)?, &cast::convert(b, Elem::F64, false, cx)?, cx)?;
        return cast::convert(&power, elem, false, cx);
    }
    let b = &cast::convert(b, elem, false, cx)?;
    let dims = broadcast(&[a.dims(), b.dims()])?;
    let no_code = || Err(no_code(BinaryKind::Pow, a));
    by_number!(elem, T => zip((a, b), &dims, elem, |a: &[T], b: &[T], out: &mut [T]| map2(a, b, out, Number::pow), cx), _ => no_code())
}

/// Powers by one small exponent are products and roots.
fn known_power(a: &Tensor, b: &Tensor) -> Option<Kernel1<f32, f32>> {
    if a.elem() != Elem::F32 || b.len() != 1 || b.rank() > a.rank() {
        return None;
    }
    let exponent = match b.elem() {
        Elem::F32 => b.slice::<f32>()[0],
        Elem::I64 => b.slice::<i64>()[0] as f32,
        Elem::I32 => b.slice::<i32>()[0] as f32,
        _ => return None,
    };
    Some(match exponent {
        1.0 => |x, out| out.copy_from_slice(x),
        2.0 => |x, out| map1(x, out, |x| x * x),
        3.0 => |x, out| map1(x, out, |x| x * x * x),
        0.5 => |x, out| map1(x, out, |x: f32| if x == f32::NEG_INFINITY { f32::INFINITY } else { x.sqrt() + 0.0 }),
        -1.0 => |x, out| map1(x, out, |x| 1.0 / x),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};
    use half::bf16;
    use mokume_ir::op::Op;

    fn f32s(kind: BinaryKind, a: &Tensor, b: &Tensor) -> Vec<f32> {
        run(Op::Binary(kind), &[a, b])[0].slice::<f32>().to_vec()
    }

    #[test]
    fn broadcasts_large_operands() {
        let (rows, columns) = (100, 1000);
        let a = Tensor::f32s(&[rows, 1], &(0..rows).map(|i| i as f32).collect::<Vec<_>>());
        let b = Tensor::f32s(&[columns], &(0..columns).map(|i| 1000.0 * i as f32).collect::<Vec<_>>());
        let sums = f32s(BinaryKind::Add, &a, &b);
        assert!(sums.iter().enumerate().all(|(i, &sum)| sum == (i / columns) as f32 + 1000.0 * (i % columns) as f32));
        assert!(fails(Op::Binary(BinaryKind::Add), &[&a, &Tensor::f32s(&[3, 7], &[0.0; 21])]));
        assert!(fails(Op::Binary(BinaryKind::Add), &[&a, &Tensor::i64s(&[], &[1])]));
    }

    #[test]
    fn comparisons_give_bool() {
        let (a, b) = (Tensor::f32s(&[3], &[1.0, f32::NAN, 3.0]), Tensor::f32s(&[], &[1.0]));
        let flags = |kind| run(Op::Binary(kind), &[&a, &b])[0].slice::<u8>().to_vec();
        assert_eq!((flags(BinaryKind::Eq), flags(BinaryKind::Lt), flags(BinaryKind::Ge)), (vec![1, 0, 0], vec![0; 3], vec![1, 0, 1]));
        let bools = Tensor::of(&[2], Elem::Bool, &[0u8, 1]);
        assert_eq!(run(Op::Binary(BinaryKind::Xor), &[&bools, &bools])[0].slice::<u8>(), [0, 0]);
        assert!(fails(Op::Binary(BinaryKind::And), &[&a, &a]));
    }

    #[test]
    fn powers_of_mixed_types() {
        let x = Tensor::f32s(&[3], &[1.0, 2.0, 3.0]);
        assert_eq!(f32s(BinaryKind::Pow, &x, &Tensor::i64s(&[], &[2])), [1.0, 4.0, 9.0]);
        assert_eq!(f32s(BinaryKind::Pow, &x, &Tensor::i64s(&[3], &[3, 2, 1])), [1.0, 4.0, 3.0]);
        let whole = Tensor::i64s(&[2], &[4, 9]);
        assert_eq!(run(Op::Binary(BinaryKind::Pow), &[&whole, &Tensor::f32s(&[], &[0.5])])[0].slice::<i64>(), [2, 3]);
        let half = Tensor::of(&[1], Elem::BF16, &[bf16::from_f32(3.0)]);
        assert_eq!(run(Op::Binary(BinaryKind::Pow), &[&half, &Tensor::f32s(&[], &[2.0])])[0].slice::<bf16>(), [bf16::from_f32(9.0)]);
        let back = run(Op::Binary(BinaryKind::Pow), &[&x, &half]).remove(0);
        assert_eq!((back.elem(), back.slice::<f32>()), (Elem::F32, &[1.0, 8.0, 27.0][..]));
    }

    #[test]
    fn remainders() {
        let (a, b) = (Tensor::i64s(&[4], &[-7, 7, -7, 7]), Tensor::i64s(&[4], &[3, -3, -3, 0]));
        let rest = |kind| run(Op::Binary(kind), &[&a, &b])[0].slice::<i64>().to_vec();
        assert_eq!((rest(BinaryKind::Mod), rest(BinaryKind::Fmod)), (vec![2, -2, -1, 0], vec![-1, 1, -1, 0]));
        assert_eq!(rest(BinaryKind::Div), [-2, -2, 2, 0]);
    }
}
