//! Numpy's `.npy` format: one tensor per file.
//!
//! Source  NEP 1 and `numpy.lib.format`: magic, version 1–3, a Python dictionary as header, then the elements.

use crate::file;
use crate::tensor::Tensor;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::types::Elem;
use std::collections::HashSet;
use std::path::Path;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Headers are padded so that the elements start on a multiple of this.
const ALIGN: usize = 64;

/// numpy's type code for each element type that numpy has.
const CODES: [(Elem, &str); 12] = [
    (Elem::Bool, "|b1"),
    (Elem::I8, "|i1"),
    (Elem::U8, "|u1"),
    (Elem::I16, "<i2"),
    (Elem::U16, "<u2"),
    (Elem::I32, "<i4"),
    (Elem::U32, "<u4"),
    (Elem::I64, "<i8"),
    (Elem::U64, "<u8"),
    (Elem::F16, "<f2"),
    (Elem::F32, "<f4"),
    (Elem::F64, "<f8"),
];

/// The tensor in the bytes of a file.
///
/// Errors  what is wrong: not a `.npy`, cut off, or of a type or order that mokume does not read.
pub fn read(file: &[u8]) -> Result<Tensor, String> {
    let (header, data) = split(file)?;
    let elem = elem_of(&text_value(header, "descr")?)?;
    if raw_value(header, "fortran_order")?.starts_with("True") {
        return Err("the array is in Fortran order; save numpy.ascontiguousarray of it".into());
    }
    let dims = dims_of(raw_value(header, "shape")?)?;
    let width = (elem.bits() / 8) as usize;
    let len = dims.iter().try_fold(width, |len, &dim| len.checked_mul(dim)).ok_or("the shape is too large")?;
    let data = data.get(..len).ok_or_else(|| format!("{len} bytes of elements expected, {} found", data.len()))?;
    let mut tensor = Tensor::zeros(&dims, elem);
    tensor.bytes_mut().copy_from_slice(data);
    if elem == Elem::Bool {
        tensor.slice_mut::<u8>().iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    Ok(tensor)
}

/// Writes every tensor to its own file in a folder, `NAME.npy`; what no file name may hold becomes `_`, and a name that is
/// taken gets a number.
///
/// Errors  `tensor::npy` for a type that numpy lacks; `file::unwritable`.
pub fn write_folder(folder: &Path, tensors: &[(String, Tensor)]) -> Result<(), Report> {
    file::make_folder(folder)?;
    let names = file_names(tensors.iter().map(|(name, _)| name.as_str()));
    for ((name, tensor), file_name) in tensors.iter().zip(names) {
        let bytes = write_named(name, tensor)?;
        file::write(&folder.join(file_name), |out| out.write_all(&bytes))?;
    }
    Ok(())
}

/// The file of a named tensor, as [`write()`].
///
/// Errors  `tensor::npy` for a type that numpy lacks.
pub fn write_named(name: &str, tensor: &Tensor) -> Result<Vec<u8>, Report> {
    write(tensor)
        .map_err(|why| Diagnostic::unsupported("tensor::npy", format!("output \"{name}\" cannot be written as .npy: {why}")).into())
}

/// Different file names for different names.
fn file_names<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut free = |name: String| taken.insert(name.to_lowercase()).then_some(name);
    let safe = |name: &str| name.replace(['/', '\\', ':', '\0'], "_");
    let numbered = |name: String| (2..).map(move |number| format!("{name}_{number}.npy"));
    names.map(safe).filter_map(|name| free(format!("{name}.npy")).or_else(|| numbered(name).find_map(&mut free))).collect()
}

/// A tensor as the bytes of a file. Types that numpy lacks are widened where that is exact: bf16 and small floats are refused.
///
/// Errors  when numpy has no such type.
pub fn write(tensor: &Tensor) -> Result<Vec<u8>, String> {
    let code = CODES.iter().find(|row| row.0 == stored(tensor.elem())).ok_or_else(|| format!("numpy has no type {}", tensor.elem()))?.1;
    let shape: String = tensor.dims().iter().map(|dim| format!("{dim},")).collect();
    let mut header = format!("{{'descr': '{code}', 'fortran_order': False, 'shape': ({shape}), }}");
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGN) - unpadded));
    header.push('\n');
    let mut file = Vec::with_capacity(MAGIC.len() + 4 + header.len() + tensor.bytes().len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[1, 0]);
    file.extend_from_slice(&(header.len() as u16).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(tensor.bytes());
    Ok(file)
}

/// Types narrower than a byte take a byte each in a tensor; numpy sees that byte.
fn stored(elem: Elem) -> Elem {
    match elem {
        Elem::I4 | Elem::I2 => Elem::I8,
        Elem::U4 | Elem::U2 => Elem::U8,
        elem => elem,
    }
}

/// Header text and elements.
fn split(file: &[u8]) -> Result<(&str, &[u8]), String> {
    let rest = file.strip_prefix(MAGIC).ok_or("it does not start as a .npy file")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or("it is cut off in the header")?;
    let (len, rest) = match version[0] {
        1 => rest.split_first_chunk::<2>().map(|(len, rest)| (u16::from_le_bytes(*len) as usize, rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(len, rest)| (u32::from_le_bytes(*len) as usize, rest)),
        other => return Err(format!("version {other} of the format is not known")),
    }
    .ok_or("it is cut off in the header")?;
    let (header, data) = rest.split_at_checked(len).ok_or("it is cut off in the header")?;
    Ok((std::str::from_utf8(header).map_err(|_| "the header is not text")?, data))
}

/// The text after `'key':`.
fn raw_value<'h>(header: &'h str, key: &str) -> Result<&'h str, String> {
    let missing = || format!("the header has no `{key}`");
    let at = header.find(&format!("'{key}':")).ok_or_else(missing)?;
    Ok(header[at + key.len() + 3..].trim_start())
}

fn text_value(header: &str, key: &str) -> Result<String, String> {
    let value = raw_value(header, key)?;
    let quoted = value.strip_prefix('\'').and_then(|v| v.split_once('\''));
    quoted.map(|(text, _)| text.to_string()).ok_or_else(|| format!("`{key}` is not a plain type"))
}

fn elem_of(code: &str) -> Result<Elem, String> {
    let native = code.replace('=', "<");
    let found = CODES.iter().find(|row| row.1 == native || row.1.replace('|', "<") == native);
    found.map(|row| row.0).ok_or_else(|| format!("elements of type `{code}` are not supported"))
}

fn dims_of(value: &str) -> Result<Vec<usize>, String> {
    let inner = value.strip_prefix('(').and_then(|v| v.split_once(')')).map(|(inner, _)| inner).ok_or("`shape` is not a tuple")?;
    let parts = inner.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|_| format!("`{part}` is not a size"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_share_a_file_do_not() {
        let names = file_names(["a/b", "a_b", "A:b", "..", "", "a_b_2"].into_iter());
        assert_eq!(names, ["a_b.npy", "a_b_2.npy", "A_b_3.npy", "...npy", ".npy", "a_b_2_2.npy"]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for tensor in
            [Tensor::f32s(&[2, 3], &[1.0, -0.5, 3.0, 4.0, 5.0, f32::INFINITY]), Tensor::i64s(&[], &[7]), Tensor::i64s(&[0, 4], &[])]
        {
            let back = read(&write(&tensor).unwrap()).unwrap();
            assert_eq!((back.dims(), back.elem(), back.bytes()), (tensor.dims(), tensor.elem(), tensor.bytes()));
        }
    }

    #[test]
    fn elements_start_aligned() {
        let file = write(&Tensor::f32s(&[1], &[1.0])).unwrap();
        assert_eq!((file.len() - 4) % ALIGN, 0);
    }

    #[test]
    fn broken_files_say_what_is_wrong() {
        let file = write(&Tensor::f32s(&[4], &[0.0; 4])).unwrap();
        assert_eq!(read(b"hello").unwrap_err(), "it does not start as a .npy file");
        assert_eq!(read(&file[..40]).unwrap_err(), "it is cut off in the header");
        assert_eq!(read(&file[..file.len() - 1]).unwrap_err(), "16 bytes of elements expected, 15 found");
        let huge = String::from_utf8_lossy(&file[10..]).replace("(4,)", "(99999999999,99999999999,)");
        let mut hostile = file[..8].to_vec();
        hostile.extend_from_slice(&(huge.len() as u16).to_le_bytes());
        hostile.extend_from_slice(huge.as_bytes());
        assert_eq!(read(&hostile).unwrap_err(), "the shape is too large");
    }
}
