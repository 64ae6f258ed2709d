//! The elements of constants written out, as *lanes*: the bits of one number (complex numbers are two).

use super::lex::{Kind, Token};
use super::{INLINE, Quoted};
use crate::constant::{Constant, QuantData, packed_bytes};
use crate::types::Elem;
use bytes::Bytes;
use half::{bf16, f16};

/// The contents as text: `[1, 2]`, a bare element for a scalar, codes with `scales […]` for quantized types. None when the
/// constant has too many elements, or when its bytes are not exactly what reading the text would give.
pub fn print(constant: &Constant) -> Option<String> {
    let dims = constant.ty.shape.as_known()?;
    let bytes = packed_bytes(&dims, constant.ty.elem)?;
    if constant.len() > INLINE || constant.ty.elem.quant().is_some_and(|quant| !quant.is_valid()) {
        return None;
    }
    if constant.ty.elem == Elem::String {
        return print_strings(constant);
    }
    if bytes != constant.data.len() {
        return None;
    }
    let lanes = unpack(&dims, constant.ty.elem, &constant.data);
    if pack(&dims, constant.ty.elem, &lanes) != constant.data {
        return None;
    }
    let elements = lanes.iter().map(|&lane| lane_text(constant.ty.elem, lane)).collect::<Option<Vec<_>>>()?;
    Some(list(&dims, elements) + &quant_text(constant)?)
}

fn list(dims: &[usize], elements: Vec<String>) -> String {
    match (dims, &elements[..]) {
        ([], [scalar]) => scalar.clone(),
        _ => format!("[{}]", elements.join(", ")),
    }
}

fn quant_text(constant: &Constant) -> Option<String> {
    let Some(quant) = &constant.quant else {
        return constant.ty.elem.quant().is_none().then(String::new);
    };
    let (scales, []) = quant.scales.as_chunks::<4>() else { return None };
    let (zeros, []) = quant.zero_points.as_chunks::<4>() else { return None };
    if constant.ty.elem.quant().is_none() || scales.len() > INLINE {
        return None;
    }
    let scales: Vec<_> = scales.iter().map(|&s| float32(f32::from_le_bytes(s))).collect();
    let mut text = format!(" scales [{}]", scales.join(", "));
    if !zeros.is_empty() {
        let zeros: Vec<_> = zeros.iter().map(|&z| i32::from_le_bytes(z).to_string()).collect();
        text += &format!(" zero_points [{}]", zeros.join(", "));
    }
    Some(text)
}

fn print_strings(constant: &Constant) -> Option<String> {
    let strings = constant.strings()?;
    let texts = strings.iter().map(|s| Quoted(s).to_string()).collect();
    (strings.len() == constant.len()).then(|| list(&constant.dims(), texts))
}

/// The bytes of a string constant.
pub fn pack_strings<'a>(strings: impl IntoIterator<Item = &'a str>) -> Bytes {
    let mut data = Vec::new();
    for string in strings {
        data.extend((string.len() as u32).to_le_bytes());
        data.extend(string.as_bytes());
    }
    data.into()
}

/// Lanes per element and bits per lane.
pub fn lanes_of(elem: Elem) -> (usize, u32) {
    match elem {
        Elem::C64 | Elem::C128 => (2, elem.bits() / 2),
        _ => (1, elem.bits()),
    }
}

/// Rows that start on a byte, and lanes per row.
fn rows(dims: &[usize], elem: Elem) -> (usize, usize) {
    let all = dims.iter().product::<usize>();
    match (elem, dims) {
        (Elem::Quant(_), [.., row]) if *row > 0 => (all / row, *row),
        _ => (1, all * lanes_of(elem).0),
    }
}

fn unpack(dims: &[usize], elem: Elem, data: &[u8]) -> Vec<u64> {
    let (rows, row) = rows(dims, elem);
    let bits = lanes_of(elem).1 as usize;
    let stride = (row * bits).div_ceil(8);
    let lane = |at: usize| (0..bits).fold(0, |lane, i| lane | u64::from(data[(at + i) / 8] >> ((at + i) % 8) & 1) << i);
    (0..rows * row).map(|i| lane(i / row * stride * 8 + i % row * bits)).collect()
}

/// The bytes of a constant of a plain or quantized type from its lanes.
pub fn pack(dims: &[usize], elem: Elem, lanes: &[u64]) -> Bytes {
    let (rows, row) = rows(dims, elem);
    let bits = lanes_of(elem).1 as usize;
    let stride = (row * bits).div_ceil(8);
    let mut data = vec![0u8; rows * stride];
    for (i, lane) in lanes.iter().enumerate() {
        let at = i / row * stride * 8 + i % row * bits;
        for bit in (0..bits).filter(|bit| lane >> bit & 1 == 1) {
            data[(at + bit) / 8] |= 1 << ((at + bit) % 8);
        }
    }
    data.into()
}

fn lane_text(elem: Elem, lane: u64) -> Option<String> {
    Some(match elem {
        Elem::Bool if lane > 1 => return None,
        Elem::Bool => (lane == 1).to_string(),
        Elem::F32 | Elem::C64 => float32(f32::from_bits(lane as u32)),
        Elem::F64 | Elem::C128 => float64(f64::from_bits(lane)),
        Elem::F16 => decimal(f16::from_bits(lane as u16).to_f32(), lane, |value| f16::from_f32(value).to_bits()),
        Elem::BF16 => decimal(bf16::from_bits(lane as u16).to_f32(), lane, |value| bf16::from_f32(value).to_bits()),
        elem if elem.is_float() => format!("{lane:#x}"),
        elem if elem.is_signed_int() => {
            let unused = 64 - elem.bits();
            ((lane << unused) as i64 >> unused).to_string()
        }
        _ => lane.to_string(),
    })
}

/// An f32 in the text form.
pub fn float32(value: f32) -> String {
    match value {
        value if value.is_nan() && value.to_bits() == f32::NAN.to_bits() => "nan".into(),
        value if value.is_nan() => format!("{:#x}", value.to_bits()),
        value => format!("{value:?}"),
    }
}

fn float64(value: f64) -> String {
    match value {
        value if value.is_nan() && value.to_bits() == f64::NAN.to_bits() => "nan".into(),
        value if value.is_nan() => format!("{:#x}", value.to_bits()),
        value => format!("{value:?}"),
    }
}

/// A 16-bit float: the fewest digits that read back as it.
fn decimal(value: f32, bits: u64, round: fn(f32) -> u16) -> String {
    if value.is_nan() {
        return if bits == u64::from(round(f32::NAN)) { "nan".into() } else { format!("{bits:#x}") };
    }
    let shorter = (0..8).filter_map(|digits| format!("{value:.digits$e}").parse::<f32>().ok());
    float32(shorter.into_iter().find(|&short| u64::from(round(short)) == bits).unwrap_or(value))
}

/// The lane that a token stands for, `negative` when a minus precedes it; none when it does not fit the type.
pub fn lane(elem: Elem, negative: bool, token: &Token<'_>) -> Option<u64> {
    match token.kind {
        _ if elem == Elem::Bool => bool_lane(negative, token),
        Kind::Hex if elem.is_float() || matches!(elem, Elem::C64 | Elem::C128) => hex_lane(elem, negative, token.text),
        Kind::Int | Kind::Float | Kind::Word if has_decimals(elem) => float_lane(elem, negative, token.text),
        Kind::Int if elem != Elem::String => int_lane(elem, negative, token.text),
        _ => None,
    }
}

fn bool_lane(negative: bool, token: &Token<'_>) -> Option<u64> {
    match token.text {
        _ if negative => None,
        "true" => Some(1),
        "false" => Some(0),
        _ => None,
    }
}

fn has_decimals(elem: Elem) -> bool {
    matches!(elem, Elem::F16 | Elem::BF16 | Elem::F32 | Elem::F64 | Elem::C64 | Elem::C128)
}

fn hex_lane(elem: Elem, negative: bool, text: &str) -> Option<u64> {
    let bits = u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
    let width = lanes_of(elem).1;
    (!negative && (width == 64 || bits >> width == 0)).then_some(bits)
}

/// `inf`, `nan` and decimals, nothing else that a float parser reads.
pub fn is_float_text(text: &str) -> bool {
    matches!(text, "inf" | "nan") || text.starts_with(|c: char| c.is_ascii_digit())
}

fn float_lane(elem: Elem, negative: bool, text: &str) -> Option<u64> {
    let single = || {
        let value: f32 = text.parse().ok()?;
        Some(if negative { -value } else { value })
    };
    if !is_float_text(text) {
        return None;
    }
    Some(match elem {
        Elem::F16 => f16::from_f32(single()?).to_bits().into(),
        Elem::BF16 => bf16::from_f32(single()?).to_bits().into(),
        Elem::F32 | Elem::C64 => single()?.to_bits().into(),
        _ => {
            let value: f64 = text.parse().ok()?;
            (if negative { -value } else { value }).to_bits()
        }
    })
}

fn int_lane(elem: Elem, negative: bool, text: &str) -> Option<u64> {
    let magnitude: i128 = text.parse().ok()?;
    let value = if negative { -magnitude } else { magnitude };
    let bits = elem.bits();
    let (low, high) = match elem.is_signed_int() {
        true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
        false => (0, (1i128 << bits) - 1),
    };
    (low..=high).contains(&value).then_some(value as u64 & (u64::MAX >> (64 - bits)))
}

/// Scales and zero points from their lanes.
pub fn quant_data(scales: &[u64], zero_points: &[u64]) -> QuantData {
    let bytes = |lanes: &[u64]| lanes.iter().flat_map(|&lane| (lane as u32).to_le_bytes()).collect::<Vec<u8>>().into();
    QuantData { scales: bytes(scales), zero_points: bytes(zero_points) }
}
