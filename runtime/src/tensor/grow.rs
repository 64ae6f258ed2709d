//! Tensors with room to grow: appending along an axis costs what is appended, not what is there.
//!
//! Layout  blocks of the axes from `axis` on lie `stride` elements apart; the room behind each is for later. When it is
//!         full, the tensor moves to twice the room.

use super::{Spare, Tensor, elem_bytes};
use crate::memory::Buffer;
use crate::ops::OpError;
use mokume_ir::types::Elem;
use std::sync::Arc;

/// Room for this many indices at least.
const MIN_ROOM: usize = 64;

impl Tensor {
    /// This tensor with `more` behind it along `axis`, in place where nobody else reads it and there is room. Rows of codes also take
    /// values of f32, which are quantized.
    ///
    /// Errors  when sizes or element types do not fit.
    pub(crate) fn appended(self, axis: usize, more: &Tensor) -> Result<Tensor, OpError> {
        let rest = |dims: &[usize]| (dims[..axis].to_vec(), dims[axis + 1..].to_vec());
        let elem = self.elem == more.elem || (self.elem.quant().is_some() && more.elem == Elem::F32);
        let fits = axis < self.rank() && self.rank() == more.rank() && elem && rest(&self.dims) == rest(&more.dims);
        if !fits || self.strings.is_some() {
            return Err(OpError::operands(format!("{more:?} does not continue {self:?} along axis {axis}")));
        }
        if self.elem.quant().is_some() {
            return self.appended_rows(axis, more);
        }
        let at = self.dims[axis];
        let mut grown = self;
        grown.extend(axis, more.dims[axis]);
        grown.write_blocks(axis, at, more);
        Ok(grown)
    }
    /// The tensor, dense.
    pub(crate) fn dense(&self) -> Tensor {
        if let Some(rows) = &self.packed {
            return self.dense_rows(rows);
        }
        let Some(Spare { axis, .. }) = self.spare else { return self.clone() };
        let mut dense = Tensor::zeros(&self.dims, self.elem);
        let size = self.block_bytes(axis);
        for (index, block) in dense.bytes_mut().chunks_mut(size.max(1)).enumerate() {
            block.copy_from_slice(self.raw_block(axis, index));
        }
        dense
    }

    /// Elements behind one index of `axis`.
    fn inner(&self, axis: usize) -> usize {
        self.dims[axis + 1..].iter().product()
    }
    fn block_bytes(&self, axis: usize) -> usize {
        self.dims[axis] * self.inner(axis) * elem_bytes(self.elem)
    }
    fn raw_block(&self, axis: usize, index: usize) -> &[u8] {
        let size = self.block_bytes(axis);
        let stride = self.spare.map_or(size, |spare| spare.stride * elem_bytes(self.elem));
        &self.buffer.bytes()[index * stride..][..size]
    }
    /// Makes the tensor unique, with `count` more indices of `axis`, whose elements are unspecified.
    pub(super) fn extend(&mut self, axis: usize, count: usize) {
        self.make_room(axis, self.dims[axis] + count);
        self.dims[axis] += count;
    }
    /// Makes the tensor unique, with room for `size` indices of `axis`.
    fn make_room(&mut self, axis: usize, size: usize) {
        let inner = self.inner(axis);
        let room = self.spare.filter(|spare| spare.axis == axis).map_or(0, |spare| spare.stride);
        if room >= size * inner && self.is_unique() {
            return;
        }
        let stride = (size * 2).max(MIN_ROOM) * inner;
        let outer = self.dims[..axis].iter().product::<usize>();
        let buffer = Buffer::zeroed(outer * stride * elem_bytes(self.elem));
        let mut roomy = Tensor { buffer: Arc::new(buffer), spare: Some(Spare { axis, stride }), ..self.clone() };
        roomy.write_blocks(axis, 0, self);
        *self = roomy;
    }
    /// Copies the blocks of `from` into those of this unique tensor, from index `at` of `axis` on.
    fn write_blocks(&mut self, axis: usize, at: usize, from: &Tensor) {
        let (width, outer) = (elem_bytes(self.elem), self.dims[..axis].iter().product());
        let start = at * self.inner(axis) * width;
        let stride = self.spare.map_or(0, |spare| spare.stride * width);
        let Some(buffer) = Arc::get_mut(&mut self.buffer) else { return };
        for index in 0..outer {
            let block = from.raw_block(axis, index);
            buffer.bytes_mut()[index * stride + start..][..block.len()].copy_from_slice(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Element `[h, t, d]` is `100 h + t`.
    fn part(times: std::ops::Range<usize>) -> Tensor {
        let values: Vec<f32> = (0..2).flat_map(|h| times.clone().flat_map(move |t| [(100 * h + t) as f32; 3])).collect();
        Tensor::f32s(&[1, 2, times.len(), 3], &values)
    }

    #[test]
    fn appending_equals_joining_and_keeps_its_place() {
        let mut tensor = part(0..0).appended(2, &part(0..5)).unwrap();
        let place = tensor.buffer.address();
        for t in 5..MIN_ROOM {
            tensor = tensor.appended(2, &part(t..t + 1)).unwrap();
            assert_eq!(tensor.buffer.address(), place);
        }
        tensor = tensor.appended(2, &part(MIN_ROOM..MIN_ROOM + 7)).unwrap();
        assert_ne!(tensor.buffer.address(), place);
        let whole = part(0..MIN_ROOM + 7);
        assert_eq!(tensor.dense().slice::<f32>(), whole.slice::<f32>());
        for index in 0..2 {
            assert_eq!(tensor.block::<f32>(2, index), whole.block::<f32>(2, index));
        }
    }

    #[test]
    fn a_tensor_that_others_read_is_not_changed() {
        let tensor = part(0..4).appended(2, &part(4..5)).unwrap();
        let other = tensor.clone();
        let longer = tensor.appended(2, &part(5..9)).unwrap();
        assert_eq!(other.dense().slice::<f32>(), part(0..5).slice::<f32>());
        assert_eq!(longer.dense().slice::<f32>(), part(0..9).slice::<f32>());
        assert!(longer.appended(2, &Tensor::zeros(&[1, 2, 1, 4], mokume_ir::types::Elem::F32)).is_err());
    }
}
