//! Numbers to the bytes of one element.

use half::{bf16, f16};
use mokume_ir::types::Elem;

/// The bytes of `number` as an element of a plain type of 8 bits or more; none for the other types.
pub fn encode(elem: Elem, number: f64) -> Option<Vec<u8>> {
    Some(match elem {
        Elem::Bool => vec![u8::from(number != 0.0)],
        Elem::I8 => vec![number as i8 as u8],
        Elem::U8 => vec![number as u8],
        Elem::I16 => (number as i16).to_le_bytes().to_vec(),
        Elem::U16 => (number as u16).to_le_bytes().to_vec(),
        Elem::I32 => (number as i32).to_le_bytes().to_vec(),
        Elem::U32 => (number as u32).to_le_bytes().to_vec(),
        Elem::I64 => (number as i64).to_le_bytes().to_vec(),
        Elem::U64 => (number as u64).to_le_bytes().to_vec(),
        Elem::F16 => f16::from_f64(number).to_le_bytes().to_vec(),
        Elem::BF16 => bf16::from_f64(number).to_le_bytes().to_vec(),
        Elem::F32 => (number as f32).to_le_bytes().to_vec(),
        Elem::F64 => number.to_le_bytes().to_vec(),
        _ => return None,
    })
}
