//! Linear maps of constants along one axis, computed in f64.

use super::region::Slot;
use crate::query;
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::ids::ConstId;
use mokume_ir::types::Elem;
use rayon::prelude::*;
use std::collections::HashMap;

/// Constants that were mapped already: what is shared before stays shared.
pub type Mapped = HashMap<(ConstId, usize), Constant>;

/// Maps the constant of `slot` by `map`, which gets every vector along the axis of the slot.
pub fn map_slot(editor: &mut Editor<'_>, slot: &Slot, mapped: &mut Mapped, map: &(dyn Fn(&mut [f64]) + Sync)) {
    let value = editor[slot.node].inputs[slot.operand];
    let (Some(id), Some(constant)) = (editor.constant(value), query::constant(editor, value)) else { return };
    let new = mapped.entry((id, slot.axis)).or_insert_with(|| along(constant, slot.axis, map)).clone();
    let new = editor.constant_value(new);
    editor.set_operand(slot.node, slot.operand, new);
}

/// An f32 constant whose vectors along `axis` went through `map`; another constant stays as it is.
pub fn along(constant: &Constant, axis: usize, map: &(dyn Fn(&mut [f64]) + Sync)) -> Constant {
    let dims = constant.dims();
    let (Some(&size), Elem::F32) = (dims.get(axis), constant.ty.elem) else { return constant.clone() };
    let inner: usize = dims[axis + 1..].iter().product();
    let mut numbers = constant.to_f32s().unwrap_or_default();
    if inner == 1 {
        numbers.par_chunks_exact_mut(size.max(1)).for_each(|row| map_row(row, map));
    } else {
        numbers.chunks_exact_mut((size * inner).max(1)).for_each(|plane| map_columns(plane, size, map));
    }
    Constant::f32s(&dims, &numbers)
}

fn map_row(row: &mut [f32], map: &(dyn Fn(&mut [f64]) + Sync)) {
    let mut wide: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
    map(&mut wide);
    row.iter_mut().zip(wide).for_each(|(x, wide)| *x = wide as f32);
}

/// Maps the columns of a matrix of `rows` rows.
fn map_columns(plane: &mut [f32], rows: usize, map: &(dyn Fn(&mut [f64]) + Sync)) {
    let cols = plane.len() / rows.max(1);
    let columns: Vec<Vec<f32>> = (0..cols)
        .into_par_iter()
        .map(|col| {
            let mut column: Vec<f32> = (0..rows).map(|row| plane[row * cols + col]).collect();
            map_row(&mut column, map);
            column
        })
        .collect();
    for (row, out) in plane.chunks_exact_mut(cols.max(1)).enumerate() {
        out.iter_mut().zip(&columns).for_each(|(out, column)| *out = column[row]);
    }
}

/// The number that every element of an f32 vector is.
pub fn uniform(constant: &Constant) -> Option<f32> {
    let numbers = constant.to_f32s()?;
    let first = *numbers.first()?;
    numbers.iter().all(|&x| x == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_go_along_the_axis() {
        let matrix = Constant::f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let prefix = |x: &mut [f64]| (1..x.len()).for_each(|i| x[i] += x[i - 1]);
        assert_eq!(along(&matrix, 1, &prefix).to_f32s(), Some(vec![1.0, 3.0, 6.0, 4.0, 9.0, 15.0]));
        assert_eq!(along(&matrix, 0, &prefix).to_f32s(), Some(vec![1.0, 2.0, 3.0, 5.0, 7.0, 9.0]));
        let planes = Constant::f32s(&[2, 2, 1], &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(along(&planes, 1, &prefix).to_f32s(), Some(vec![1.0, 3.0, 3.0, 7.0]));
    }
}
