//! Tensors at run time: contiguous, row major, immutable once shared; cheap to clone and to reshape.
//!
//! Layout  one element after the other in native width. Types narrower than a byte take one byte each (`i4` as i8, `u4` as
//!         u8, `f4e2m1` as its code); the small floats are their codes; bool is one byte, 0 or 1. Codes of quantized types
//!         take one u8 each, unsigned form (see `Levels::affine`), beside scales and zero points; state of quantized rows is packed
//!         ([`PackedRows`]).

mod grow;
mod packed;

pub use self::packed::{PackedRows, row_bytes};
pub(crate) use self::packed::{parts, unpack_codes};
use crate::memory::Buffer;
use half::{bf16, f16};
use mokume_ir::types::Elem;
use smallvec::SmallVec;
use std::sync::Arc;

/// Sizes of a tensor.
pub type Dims = SmallVec<[usize; 6]>;

/// A rust type that is the native form of some element type.
pub trait Scalar: bytemuck::Pod + Send + Sync + PartialOrd + Default {
    /// Whether tensors of `elem` hold this type.
    fn holds(elem: Elem) -> bool;
}

macro_rules! scalar {
    ($($ty:ty: $($elem:ident)|+;)+) => {
        $(impl Scalar for $ty {
            fn holds(elem: Elem) -> bool {
                matches!(elem, $(Elem::$elem)|+)
            }
        })+
    };
}

scalar! {
    i8: I8 | I4 | I2;
    i16: I16;
    i32: I32;
    i64: I64;
    u16: U16;
    u32: U32;
    u64: U64;
    f16: F16;
    bf16: BF16;
    f32: F32;
    f64: F64;
}

impl Scalar for u8 {
    fn holds(elem: Elem) -> bool {
        use Elem::*;
        matches!(elem, U8 | U4 | U2 | Bool | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1 | Quant(_))
    }
}

/// Bytes that one element takes at run time; 0 for strings.
pub fn elem_bytes(elem: Elem) -> usize {
    elem.bits().div_ceil(8) as usize
}

/// Scales of a quantized tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Scales {
    /// One per group of elements that share it.
    pub scales: Vec<f32>,
    /// In levels, one per scale; empty without zero points.
    pub zero_points: Vec<i32>,
}

/// A tensor.
#[derive(Clone)]
pub struct Tensor {
    dims: Dims,
    elem: Elem,
    buffer: Arc<Buffer>,
    strings: Option<Arc<Vec<String>>>,
    spare: Option<Spare>,
    /// Holds the elements instead of the buffer.
    packed: Option<Arc<PackedRows>>,
    /// Scales of a quantized tensor.
    pub scales: Option<Arc<Scales>>,
}

/// Room to grow: blocks of the axes from `axis` on lie `stride` elements apart, further than their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spare {
    axis: usize,
    stride: usize,
}

impl Tensor {
    /// A zeroed tensor in memory of its own.
    pub fn zeros(dims: &[usize], elem: Elem) -> Self {
        let len = dims.iter().product::<usize>() * elem_bytes(elem);
        Tensor::in_buffer(dims, elem, Arc::new(Buffer::zeroed(len)))
    }
    /// A tensor in the beginning of `buffer`.
    ///
    /// Panics  when the buffer is too small or misaligned.
    pub fn in_buffer(dims: &[usize], elem: Elem, buffer: Arc<Buffer>) -> Self {
        let width = elem_bytes(elem);
        assert!(dims.iter().product::<usize>() * width <= buffer.len(), "buffer too small for {dims:?} {elem}");
        assert!(width == 0 || (buffer.address()).is_multiple_of(width.min(8)), "buffer misaligned for {elem}");
        Tensor { dims: dims.into(), elem, buffer, strings: None, spare: None, packed: None, scales: None }
    }
    /// A tensor of these elements.
    ///
    /// Panics  when their number is not the product of the sizes, or `T` is not the native form of `elem`.
    pub fn of<T: Scalar>(dims: &[usize], elem: Elem, values: &[T]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "elements of {dims:?}");
        let mut tensor = Tensor::zeros(dims, elem);
        tensor.slice_mut::<T>().copy_from_slice(values);
        tensor
    }
    /// An f32 tensor.
    pub fn f32s(dims: &[usize], values: &[f32]) -> Self {
        Tensor::of(dims, Elem::F32, values)
    }
    /// An i64 tensor.
    pub fn i64s(dims: &[usize], values: &[i64]) -> Self {
        Tensor::of(dims, Elem::I64, values)
    }
    /// A tensor of strings.
    ///
    /// Panics  when their number is not the product of the sizes.
    pub fn strings(dims: &[usize], values: Vec<String>) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "elements of {dims:?}");
        let buffer = Arc::new(Buffer::zeroed(0));
        Tensor { dims: dims.into(), elem: Elem::String, buffer, strings: Some(Arc::new(values)), spare: None, packed: None, scales: None }
    }
    /// Sizes.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }
    /// Element type.
    pub fn elem(&self) -> Elem {
        self.elem
    }
    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }
    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The elements.
    ///
    /// Panics  when `T` is not the native form of the element type: dispatch on [`Tensor::elem`] first.
    pub fn slice<T: Scalar>(&self) -> &[T] {
        assert!(T::holds(self.elem), "{} read as {}", self.elem, std::any::type_name::<T>());
        bytemuck::cast_slice(self.bytes())
    }
    /// The elements, writable.
    ///
    /// Panics  as [`Tensor::slice`], or when the buffer is shared.
    pub fn slice_mut<T: Scalar>(&mut self) -> &mut [T] {
        assert!(T::holds(self.elem), "{} written as {}", self.elem, std::any::type_name::<T>());
        bytemuck::cast_slice_mut(self.bytes_mut())
    }
    /// The elements of block `index` of the axes from `axis` on, the leading axes counted as one. The only access to a
    /// tensor with room to grow: see [`Tensor::is_dense`].
    ///
    /// Panics  as [`Tensor::slice`], when the block is out of range, or when the room to grow is at another axis.
    pub fn block<T: Scalar>(&self, axis: usize, index: usize) -> &[T] {
        assert!(T::holds(self.elem), "{} read as {}", self.elem, std::any::type_name::<T>());
        let (len, start) = self.block_place(axis, index);
        bytemuck::cast_slice(&self.buffer.bytes()[start * size_of::<T>()..][..len * size_of::<T>()])
    }
    /// As [`Tensor::block`], writable.
    ///
    /// Panics  also when the buffer is shared.
    pub(crate) fn block_mut<T: Scalar>(&mut self, axis: usize, index: usize) -> &mut [T] {
        assert!(T::holds(self.elem), "{} written as {}", self.elem, std::any::type_name::<T>());
        let (len, start) = self.block_place(axis, index);
        let buffer = Arc::get_mut(&mut self.buffer).expect("a tensor that is written is not shared");
        bytemuck::cast_slice_mut(&mut buffer.bytes_mut()[start * size_of::<T>()..][..len * size_of::<T>()])
    }
    /// Elements of a block, and before it.
    fn block_place(&self, axis: usize, index: usize) -> (usize, usize) {
        let len = self.dims[axis..].iter().product::<usize>();
        let stride = self.spare.map_or(len, |spare| {
            assert_eq!(spare.axis, axis, "the axis of room to grow");
            spare.stride
        });
        (len, index * stride)
    }
    /// True when the elements lie one after the other. Only state in the making is not; `attention` reads it by blocks,
    /// every other op gets dense operands.
    pub fn is_dense(&self) -> bool {
        self.spare.is_none() && self.packed.is_none()
    }
    /// The elements as bytes.
    ///
    /// Panics  when the tensor is not dense.
    pub fn bytes(&self) -> &[u8] {
        assert!(self.is_dense(), "state in the making read as a whole");
        &self.buffer.bytes()[..self.len() * elem_bytes(self.elem)]
    }
    /// The elements as writable bytes.
    ///
    /// Panics  when the buffer is shared.
    #[allow(clippy::panic, reason = "a shared output is a bug of the op")]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(self.is_dense(), "state in the making written as a whole");
        let len = self.len() * elem_bytes(self.elem);
        match Arc::get_mut(&mut self.buffer) {
            Some(buffer) => &mut buffer.bytes_mut()[..len],
            None => panic!("a shared tensor is immutable"),
        }
    }
    /// The strings of a string tensor; empty for others.
    pub fn string_slice(&self) -> &[String] {
        self.strings.as_ref().map_or(&[], |strings| strings)
    }
    /// Same elements, other sizes.
    ///
    /// Panics  when the number of elements differs.
    pub fn reshaped(&self, dims: &[usize]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), self.len(), "reshape of {:?} to {dims:?}", self.dims);
        Tensor { dims: dims.into(), ..self.clone() }
    }
    /// Same bytes read as another element type of the same width.
    ///
    /// Panics  when the widths differ.
    pub fn bitcast(&self, elem: Elem) -> Self {
        assert_eq!(elem_bytes(elem), elem_bytes(self.elem), "bitcast of {} to {elem}", self.elem);
        Tensor { elem, ..self.clone() }
    }
    /// The tensor in memory of its own when it lies in a slab, so that it may outlive the run.
    pub(crate) fn on_heap(self) -> Self {
        if !self.buffer.is_part() {
            return self;
        }
        let mut copy = Buffer::zeroed(self.buffer.len());
        copy.bytes_mut().copy_from_slice(self.buffer.bytes());
        Tensor { buffer: Arc::new(copy), ..self }
    }
    /// True when no other tensor shares the buffer, so that it may be overwritten.
    pub fn is_unique(&mut self) -> bool {
        Arc::get_mut(&mut self.buffer).is_some_and(|buffer| buffer.is_writable())
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor{:?} {}", self.dims, self.elem)
    }
}
