//! Tensors to and from the IR's constants: native layout here, packed layout there.
//!
//! Mapped data of types at least a byte wide is viewed, not copied, when it is aligned. Narrower types are unpacked to a
//! byte each: signed integers with their sign, everything else as its code.

use crate::memory::Buffer;
use crate::ops::OpError;
use crate::tensor::{Scales, Tensor, elem_bytes};
use bytes::Bytes;
use mokume_ir::constant::{Constant, QuantData, packed_bytes};
use mokume_ir::types::Elem;
use rayon::prelude::*;
use std::sync::Arc;

/// Rows of fewer elements than this are unpacked on one thread.
const PARALLEL_ELEMS: usize = 1 << 16;

/// The tensor that `constant` is.
///
/// Errors  when its data does not have the form that its type asks for.
pub fn to_tensor(constant: &Constant) -> Result<Tensor, OpError> {
    let (dims, elem) = (constant.dims(), constant.ty.elem);
    if elem == Elem::String {
        return Ok(Tensor::strings(&dims, strings_of(constant)?));
    }
    if packed_bytes(&dims, elem) != Some(constant.data.len()) {
        return Err(OpError::operands(format!("a constant of {dims:?} {elem} has {} bytes", constant.data.len())));
    }
    let buffer = match elem.bits() {
        8.. => Buffer::from_bytes(constant.data.clone(), elem_bytes(elem).min(8)),
        _ => unpacked(&dims, elem, &constant.data),
    };
    let mut tensor = Tensor::in_buffer(&dims, elem, Arc::new(buffer));
    tensor.scales = constant.quant.as_ref().map(|quant| Arc::new(scales_of(quant)));
    Ok(tensor)
}

/// The constant that `tensor` is.
pub fn to_constant(tensor: &Tensor) -> Constant {
    let elem = tensor.elem();
    let data = match elem.bits() {
        0 => pack_strings(tensor.string_slice()),
        8.. => tensor.bytes().to_vec(),
        _ => packed(tensor),
    };
    let quant = tensor.scales.as_ref().map(|scales| QuantData {
        scales: Bytes::copy_from_slice(bytemuck::cast_slice(&scales.scales)),
        zero_points: Bytes::copy_from_slice(bytemuck::cast_slice(&scales.zero_points)),
    });
    Constant::with_quant(tensor.dims(), elem, Bytes::from(data), quant)
}

fn scales_of(quant: &QuantData) -> Scales {
    Scales {
        scales: quant.scales.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        zero_points: quant.zero_points.as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b)).collect(),
    }
}

/// Elements per separately packed row: quantized codes start every row on a byte, plain types run on.
fn row_len(dims: &[usize], elem: Elem) -> usize {
    match (elem, dims) {
        (Elem::Quant(_), [.., row]) => *row,
        _ => dims.iter().product(),
    }
}

fn unpacked(dims: &[usize], elem: Elem, data: &[u8]) -> Buffer {
    let mut buffer = Buffer::zeroed(dims.iter().product());
    let (row, bits) = (row_len(dims, elem), elem.bits() as usize);
    if row == 0 {
        return buffer;
    }
    // Pieces of a row that start on a byte: any multiple of 8 elements does.
    let piece = if row > PARALLEL_ELEMS { PARALLEL_ELEMS } else { row };
    let row_bytes = (row * bits).div_ceil(8);
    buffer.bytes_mut().par_chunks_mut(row).zip(data.par_chunks(row_bytes)).for_each(|(row, packed)| {
        row.par_chunks_mut(piece).zip(packed.par_chunks((piece * bits).div_ceil(8))).for_each(|(out, packed)| {
            unpack(packed, bits, out);
            if elem.is_signed_int() {
                out.iter_mut().for_each(|code| *code = sign_extend(*code, bits));
            }
        });
    });
    buffer
}

/// Codes of `bits` bits, first in the low bits; eight of them take `bits` bytes.
fn unpack(packed: &[u8], bits: usize, out: &mut [u8]) {
    let mask = (1u64 << bits) - 1;
    for (codes, packed) in out.chunks_mut(8).zip(packed.chunks(bits)) {
        let mut word = [0; 8];
        word[..packed.len()].copy_from_slice(packed);
        let word = u64::from_le_bytes(word);
        codes.iter_mut().enumerate().for_each(|(i, code)| *code = (word >> (i * bits) & mask) as u8);
    }
}

fn sign_extend(code: u8, bits: usize) -> u8 {
    let shift = 8 - bits;
    (((code << shift) as i8) >> shift) as u8
}

fn packed(tensor: &Tensor) -> Vec<u8> {
    let (dims, elem) = (tensor.dims(), tensor.elem());
    let (row, bits) = (row_len(dims, elem), elem.bits() as usize);
    let mut data = Vec::with_capacity(packed_bytes(dims, elem).unwrap_or(0));
    tensor.bytes().chunks(row.max(1)).for_each(|row| pack(row, bits, &mut data));
    data
}

fn pack(row: &[u8], bits: usize, data: &mut Vec<u8>) {
    let mask = (1u64 << bits) - 1;
    for codes in row.chunks(8) {
        let word = codes.iter().enumerate().fold(0, |word, (i, &code)| word | (u64::from(code) & mask) << (i * bits));
        data.extend_from_slice(&word.to_le_bytes()[..(codes.len() * bits).div_ceil(8)]);
    }
}

/// Strings are each a u32 length and UTF-8 bytes.
fn strings_of(constant: &Constant) -> Result<Vec<String>, OpError> {
    let mut rest = &constant.data[..];
    let mut strings = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let text = after.split_at_checked(u32::from_le_bytes(*length) as usize);
        let (text, after) = text.ok_or_else(|| OpError::operands("a string constant ends within a string"))?;
        let text = str::from_utf8(text).map_err(|_| OpError::operands("a string constant is not UTF-8"))?;
        strings.push(text.to_owned());
        rest = after;
    }
    if !rest.is_empty() || strings.len() != constant.len() {
        return Err(OpError::operands(format!("a string constant of {:?} holds {} strings", constant.dims(), strings.len())));
    }
    Ok(strings)
}

fn pack_strings(strings: &[String]) -> Vec<u8> {
    let mut data = Vec::new();
    for text in strings {
        data.extend_from_slice(&(text.len() as u32).to_le_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use mokume_ir::quant::{Granularity, Levels, QuantType};

    fn quant(bits: u8) -> Elem {
        Elem::Quant(QuantType { bits, levels: Levels::Unsigned, granularity: Granularity::Axis(0), zero_point: false })
    }

    #[test]
    fn every_code_width_comes_back_with_rows_on_bytes() {
        for bits in 1..=8u8 {
            for dims in [[3usize, 13], [2, 8], [1, 1], [4, 0]] {
                let codes: Vec<u8> = (0..dims[0] * dims[1]).map(|i| (i * 7 % (1 << bits)) as u8).collect();
                let mut tensor = Tensor::of(&dims, quant(bits), &codes);
                tensor.scales = Some(Arc::new(Scales { scales: vec![0.5; dims[0]], zero_points: vec![] }));
                let constant = to_constant(&tensor);
                assert_eq!(constant.data.len(), dims[0] * (dims[1] * bits as usize).div_ceil(8));
                let back = to_tensor(&constant).unwrap();
                assert_eq!((back.slice::<u8>(), &back.scales), (&codes[..], &tensor.scales));
            }
        }
    }

    #[test]
    fn narrow_signed_integers_keep_their_sign() {
        let constant = Constant::new(&[5], Elem::I4, Bytes::from_static(&[0x8f, 0x70, 0x0e]));
        let tensor = to_tensor(&constant).unwrap();
        assert_eq!(tensor.slice::<i8>(), [-1, -8, 0, 7, -2]);
        assert_eq!(to_constant(&tensor).data, constant.data);
    }

    #[test]
    fn large_rows_unpack_in_pieces() {
        let codes: Vec<u8> = (0..PARALLEL_ELEMS * 2 + 77).map(|i| (i % 5 % 4) as u8).collect();
        let tensor = Tensor::of(&[codes.len()], Elem::U2, &codes);
        assert_eq!(to_tensor(&to_constant(&tensor)).unwrap().slice::<u8>(), codes);
    }

    #[test]
    fn aligned_data_is_viewed_and_misaligned_data_copied() {
        let bytes = Bytes::from(bytemuck::cast_slice::<f64, u8>(&[1.0, 2.0, 3.0]).to_vec());
        let constant = Constant::new(&[3], Elem::F64, bytes.clone());
        assert_eq!(to_tensor(&constant).unwrap().bytes().as_ptr(), bytes.as_ptr());
        let odd = Constant::new(&[4], Elem::F32, bytes.slice(1..17));
        assert_eq!(to_tensor(&odd).unwrap().bytes(), &bytes[1..17]);
    }

    #[test]
    fn strings_come_back_and_broken_ones_are_refused() {
        let tensor = Tensor::strings(&[2], vec!["".into(), "gané".into()]);
        let mut constant = to_constant(&tensor);
        assert_eq!(to_tensor(&constant).unwrap().string_slice(), tensor.string_slice());
        constant.data = constant.data.slice(..constant.data.len() - 1);
        assert!(to_tensor(&constant).is_err());
    }
}
