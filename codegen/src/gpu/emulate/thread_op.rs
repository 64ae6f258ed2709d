//! Operations that a thread does by itself.

use super::access::{Access, Kind, Space};
use super::block::{Block, Call};
use super::clock::WARP;
use super::copy;
use super::fault::{FaultKind, Stop};
use super::op::{Math, Op, Special};
use super::wgmma;

/// Runs an operation that is no collective one.
pub(super) fn run(block: &mut Block<'_>, call: &Call) -> Result<(), Stop> {
    match call.op {
        Op::Special(register) => call.give(0, special(block, register).into()),
        Op::Math(function) => call.give_float(math(function, call)),
        Op::Dot4 { a_signed, b_signed } => call.give(0, dot4(call, a_signed, b_signed).into()),
        Op::Permute => call.give(0, permute(call.word(0), call.word(1), call.word(2)).into()),
        Op::CopyAsync { bytes, counted } => copy::begin(block, call, bytes, counted)?,
        Op::Commit => copy::commit(block),
        Op::WaitGroup => copy::wait(block, call.word(0) as usize)?,
        Op::WaitAll => copy::wait_all(block)?,
        Op::ProxyFence => block.shared.fence(block.current),
        Op::GroupFence => wgmma::fence(block),
        Op::GroupCommit => wgmma::commit(block),
        Op::GroupWait => wgmma::wait(block, call.arg(0) as usize),
        Op::GroupUse => wgmma::check_waited(block)?,
        Op::MemCopy => copy_memory(block, call)?,
        Op::MemFill => fill_memory(block, call)?,
        Op::Trap => return Err(Stop::new(FaultKind::Trap, "the kernel stops itself")),
        _ => {}
    }
    Ok(())
}

fn special(block: &Block<'_>, register: Special) -> u32 {
    match register {
        Special::Thread(axis) => block.coordinates(block.current)[axis as usize],
        Special::BlockSize(axis) => block.size[axis as usize],
        Special::Block(axis) => block.index[axis as usize],
        Special::GridSize(axis) => block.grid[axis as usize],
        Special::Lane => (block.current % WARP) as u32,
        Special::Warp => (block.current / WARP) as u32,
        Special::WarpSize => WARP as u32,
    }
}

/// The value rounded once; a device is up to 2 units in the last place off (`tanh`: 2^-11, `sin` and `cos`: 2^-20.5 absolute).
fn math(function: Math, call: &Call) -> f32 {
    let wide = |index| f64::from(call.float(index));
    match function {
        Math::Exp2 => wide(0).exp2() as f32,
        Math::Log2 => wide(0).log2() as f32,
        Math::Sin => wide(0).sin() as f32,
        Math::Cos => wide(0).cos() as f32,
        Math::Tanh => wide(0).tanh() as f32,
        Math::Sqrt => call.float(0).sqrt(),
        Math::ReciprocalSqrt => (1.0 / wide(0).sqrt()) as f32,
        Math::Reciprocal => 1.0 / call.float(0),
        Math::Divide => call.float(0) / call.float(1),
        Math::Max => call.float(0).max(call.float(1)),
        Math::Min => call.float(0).min(call.float(1)),
        Math::Fma => call.float(0).mul_add(call.float(1), call.float(2)),
    }
}

fn dot4(call: &Call, a_signed: bool, b_signed: bool) -> u32 {
    dot_bytes(call.word(0), call.word(1), a_signed, b_signed).wrapping_add(call.word(2) as i32) as u32
}

/// The sum of the products of the bytes of two words.
pub(super) fn dot_bytes(a: u32, b: u32, a_signed: bool, b_signed: bool) -> i32 {
    let wide = |byte: u8, signed: bool| if signed { i32::from(byte as i8) } else { i32::from(byte) };
    let bytes = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    bytes.map(|(a, b)| wide(a, a_signed) * wide(b, b_signed)).sum()
}

/// Four bytes of `b:a`, picked by the nibbles of `selector`; the top bit of a nibble spreads the sign of its byte.
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let pick = |index: usize| {
        let nibble = selector >> (4 * index) & 0xf;
        let byte = bytes[(nibble & 7) as usize];
        if nibble & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 }
    };
    u32::from_le_bytes(std::array::from_fn(pick))
}

fn copy_memory(block: &mut Block<'_>, call: &Call) -> Result<(), Stop> {
    let bytes = call.arg(2) as usize;
    if bytes == 0 {
        return Ok(());
    }
    let from = block.access(&range(call.arg(1), bytes, Kind::Read))?;
    let to = block.access(&range(call.arg(0), bytes, Kind::Write))?;
    // SAFETY: `access` vouches for both ranges.
    unsafe { std::ptr::copy(from, to, bytes) };
    Ok(())
}

fn fill_memory(block: &mut Block<'_>, call: &Call) -> Result<(), Stop> {
    let bytes = call.arg(2) as usize;
    if bytes == 0 {
        return Ok(());
    }
    let to = block.access(&range(call.arg(0), bytes, Kind::Write))?;
    // SAFETY: `access` vouches for the range.
    unsafe { std::ptr::write_bytes(to, call.arg(1) as u8, bytes) };
    Ok(())
}

fn range(address: u64, bytes: usize, kind: Kind) -> Access {
    Access { address, bytes: bytes as u32, align: 0, kind, space: Space::Generic }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_picked_and_multiplied() {
        assert_eq!(permute(0x4433_2211, 0x8877_6655, 0x7610), 0x8877_2211);
        assert_eq!(permute(0x0000_0080, 0, 0x0008), 0x8080_80ff);
        assert_eq!(dot_bytes(0xff01_02ff, 0x0101_01ff, true, true), 3);
        assert_eq!(dot_bytes(0x0000_00ff, 0x0000_00ff, false, true), -255);
    }
}
