//! Agreement of types.

use crate::dim::Dim;
use crate::types::Type;

/// Whether a value can have both types, as far as normal forms tell.
pub fn agree(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) => {
            let shapes = match (a.shape.dims(), b.shape.dims()) {
                (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| can_equal(a, b)),
                _ => true,
            };
            a.elem == b.elem && shapes
        }
        (Type::Seq(a), Type::Seq(b)) | (Type::Opt(a), Type::Opt(b)) => agree(a, b),
        _ => false,
    }
}

fn can_equal(a: &Dim, b: &Dim) -> bool {
    a.minus(b).known().is_none_or(|difference| difference == 0)
}
