//! Weights of five or three levels as files hold them: 3 codes in 7 bits, 5 codes in 8, instead of 3 and 2 bits each.
//!
//! Kernels read such weights in bits of their own; they are written out when an artifact is read. A packed weight is a row of tiles,
//! each with a head that stays as it is, then frames of 512 codes, a vector of 64 bytes per bit. Of a tile's codes, as many as fit are one
//! number to the base of their levels, the first code lowest; numbers lie side by side, lowest bits first, up to a whole byte.

use crate::cpu::kernels::{Dense, PackedWeights};
use crate::cpu::spec::{Strategy, VECTOR};
use bytes::Bytes;
use rayon::prelude::*;

/// Codes of a frame.
const FRAME: usize = 8 * VECTOR;

/// The tiles of `packed` as a file holds them; none when they do not have the form that `dense` says, or a code is none of its levels.
pub(super) fn shrink(packed: &PackedWeights, dense: Dense) -> Option<Bytes> {
    let tiles = packed.bytes.chunks_exact(dense.tile.max(1));
    if !dense.fits() || !tiles.remainder().is_empty() {
        return None;
    }
    let tiles: Vec<&[u8]> = tiles.collect();
    let shrunk = tiles.into_par_iter().map(|tile| shrink_tile(tile, packed.strategy, dense)).collect::<Option<Vec<_>>>()?;
    Some(shrunk.concat().into())
}

/// What [`shrink`] was given.
///
/// Errors  when the bytes are not of that form.
pub(super) fn expand(shrunk: &[u8], strategy: Strategy, dense: Dense) -> Result<Bytes, String> {
    let size = dense.stored_tile();
    if !dense.fits() || size == 0 || !shrunk.len().is_multiple_of(size) {
        return Err(format!("{} bytes are no tiles of {size}", shrunk.len()));
    }
    let mut bytes = vec![0u8; shrunk.len() / size * dense.tile];
    let tiles = bytes.par_chunks_mut(dense.tile).zip(shrunk.par_chunks(size));
    tiles.map(|(tile, shrunk)| expand_tile(shrunk, strategy, dense, tile)).collect::<Result<(), _>>()?;
    Ok(bytes.into())
}

fn shrink_tile(tile: &[u8], strategy: Strategy, dense: Dense) -> Option<Vec<u8>> {
    let (head, frames) = tile.split_at(dense.head);
    let mut codes = Vec::with_capacity(dense.codes());
    for frame in frames.chunks_exact(dense.bits() * VECTOR) {
        codes.extend((0..FRAME).map(|at| read(frame, strategy, dense.bits(), at)));
    }
    let (count, bits) = dense.numbers();
    let radix = dense.radix();
    let mut shrunk = head.to_vec();
    let (mut buffer, mut filled) = (0u32, 0);
    for codes in codes.chunks(count) {
        codes.iter().all(|&code| code < radix).then_some(())?;
        buffer |= codes.iter().rev().fold(0, |number, &code| number * u32::from(radix) + u32::from(code)) << filled;
        filled += bits;
        while filled >= 8 {
            shrunk.push(buffer as u8);
            (buffer, filled) = (buffer >> 8, filled - 8);
        }
    }
    if filled > 0 {
        shrunk.push(buffer as u8);
    }
    Some(shrunk)
}

fn expand_tile(shrunk: &[u8], strategy: Strategy, dense: Dense, tile: &mut [u8]) -> Result<(), String> {
    let (head, numbers) = shrunk.split_at(dense.head);
    let (own, frames) = tile.split_at_mut(dense.head);
    own.copy_from_slice(head);
    let codes = codes(numbers, dense)?;
    for (frame, codes) in frames.chunks_exact_mut(dense.bits() * VECTOR).zip(codes.chunks_exact(FRAME)) {
        codes.iter().enumerate().for_each(|(at, &code)| write(frame, strategy, dense.bits(), at, code));
    }
    Ok(())
}

/// The codes of a tile.
fn codes(numbers: &[u8], dense: Dense) -> Result<Vec<u8>, String> {
    let ((count, bits), radix) = (dense.numbers(), u32::from(dense.radix()));
    let mut codes = Vec::with_capacity(dense.codes() + count);
    let (mut buffer, mut filled, mut bytes) = (0u32, 0, numbers.iter());
    while codes.len() < dense.codes() {
        while filled < bits {
            buffer |= u32::from(*bytes.next().ok_or("codes are missing")?) << filled;
            filled += 8;
        }
        let mut number = buffer & ((1 << bits) - 1);
        (buffer, filled) = (buffer >> bits, filled - bits);
        for _ in 0..count {
            codes.push((number % radix) as u8);
            number /= radix;
        }
        if number > 0 {
            return Err("a number stands for no codes".into());
        }
    }
    let filling = codes.split_off(dense.codes());
    if buffer == 0 && bytes.next().is_none() && filling.iter().all(|&code| code == 0) {
        Ok(codes)
    } else {
        Err("there are more codes".into())
    }
}

/// Where bit `bit` of code number `at` of a frame lies: byte and bit in it.
fn place(strategy: Strategy, bits: usize, at: usize, bit: usize) -> (usize, usize) {
    let (byte, field) = (at / 8, at % 8);
    match strategy {
        // The lower two bits lie together, in two vectors; a third has one of its own.
        Strategy::Unpack if bits >= 2 && bit < 2 => (field / 4 * VECTOR + byte, field % 4 * 2 + bit),
        Strategy::Unpack | Strategy::Planes | Strategy::Lookup => (bit * VECTOR + byte, field),
    }
}

fn read(frame: &[u8], strategy: Strategy, bits: usize, at: usize) -> u8 {
    let one = |bit: usize| {
        let (byte, shift) = place(strategy, bits, at, bit);
        (frame[byte] >> shift & 1) << bit
    };
    (0..bits).map(one).sum()
}

fn write(frame: &mut [u8], strategy: Strategy, bits: usize, at: usize, code: u8) {
    for bit in 0..bits {
        let (byte, shift) = place(strategy, bits, at, bit);
        frame[byte] |= (code >> bit & 1) << shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::spec::ScaleFormat;
    use mokume_ir::quant::Levels;

    /// Two tiles of random codes.
    fn packed(strategy: Strategy, dense: Dense) -> PackedWeights {
        let mut bytes = vec![0u8; 2 * dense.tile];
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as u8
        };
        for tile in bytes.chunks_exact_mut(dense.tile) {
            let (head, frames) = tile.split_at_mut(dense.head);
            head.iter_mut().for_each(|byte| *byte = next());
            for frame in frames.chunks_exact_mut(dense.bits() * VECTOR) {
                (0..FRAME).for_each(|at| write(frame, strategy, dense.bits(), at, next() % dense.radix()));
            }
        }
        PackedWeights { strategy, scales: ScaleFormat::F16, groups: 1, dense: Some(dense), bytes: bytes.into() }
    }

    fn every(check: impl Fn(PackedWeights, Dense)) {
        for strategy in Strategy::ALL {
            for (levels, bits) in [(Levels::Five, 3), (Levels::Ternary, 2)] {
                for frames in [1, 4, 9] {
                    let dense = Dense { levels, tile: 64 + frames * bits * VECTOR, head: 64 };
                    check(packed(strategy, dense), dense);
                }
            }
        }
    }

    #[test]
    fn what_is_shrunk_comes_back() {
        every(|packed, dense| {
            let shrunk = shrink(&packed, dense).unwrap();
            let bits = 8.0 * (shrunk.len() / 2 - 64) as f64 / dense.codes() as f64;
            assert!(bits < if dense.levels == Levels::Five { 2.35 } else { 1.62 }, "{bits}");
            assert_eq!(shrunk.len(), packed.stored_bytes());
            assert_eq!(expand(&shrunk, packed.strategy, dense), Ok(packed.bytes));
        });
    }

    #[test]
    fn other_codes_are_not_shrunk_and_other_bytes_not_expanded() {
        every(|packed, dense| {
            let mut bytes = packed.bytes.to_vec();
            bytes[dense.head..].fill(0xff);
            assert_eq!(shrink(&PackedWeights { bytes: bytes.into(), ..packed.clone() }, dense), None);
            let shrunk = shrink(&packed, dense).unwrap();
            assert!(expand(&shrunk[1..], packed.strategy, dense).is_err());
            let all = vec![0xff; shrunk.len()];
            assert!(expand(&all, packed.strategy, dense).is_err());
            assert!(expand(&shrunk, packed.strategy, Dense { head: 65, ..dense }).is_err());
        });
    }
}
