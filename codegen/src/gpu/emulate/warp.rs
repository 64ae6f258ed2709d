//! Operations that the threads of a warp do together.

use super::access::{Access, Kind};
use super::block::{Block, Call};
use super::clock::WARP;
use super::fault::{FaultKind, Stop};
use super::mma;
use super::op::{Op, Reduce, Shuffle, Vote};

/// The threads of a warp in one operation: the block's thread and its call, by lane; none for lanes that take no part.
pub(super) type Lanes = [Option<Call>; WARP];

/// The lanes that a call names, as a mask.
pub(super) fn members(call: &Call) -> u32 {
    match call.op {
        Op::SyncWarp | Op::Shuffle { .. } | Op::Vote(_) | Op::MatchAny => call.word(0),
        Op::Reduce(_) => call.word(1),
        _ => u32::MAX,
    }
}

/// Runs an operation of warp `warp`, whose lanes all wait in it. A fault comes with its lane.
pub(super) fn run(block: &mut Block<'_>, warp: usize, op: Op, lanes: &Lanes) -> Result<(), (Stop, usize)> {
    match op {
        Op::SyncWarp => block.clocks.synchronize(&[warp]),
        Op::Shuffle { mode, predicate } => return shuffle(lanes, mode, predicate),
        Op::Vote(vote) => give_all(lanes, |_| count(vote, lanes, 1).into()),
        Op::Reduce(kind) => give_all(lanes, |_| reduce(kind, lanes).into()),
        Op::MatchAny => give_all(lanes, |call| ballot(lanes, |other| other.arg(1) == call.arg(1)).into()),
        Op::LoadMatrix { count, transposed } => return load_matrix(block, warp, lanes, count.into(), transposed),
        Op::Mma(shape) => mma::run(lanes, shape),
        _ => {}
    }
    Ok(())
}

fn give_all(lanes: &Lanes, value: impl Fn(&Call) -> u64) {
    lanes.iter().flatten().for_each(|call| call.give(0, value(call)));
}

/// The combined condition of operand `index` of all calls.
pub(super) fn count(vote: Vote, lanes: &[Option<Call>], index: usize) -> u32 {
    let ballot = ballot(lanes, |call| call.arg(index) & 1 != 0);
    let all = ballot == self::ballot(lanes, |_| true);
    match vote {
        Vote::All => all.into(),
        Vote::Any => (ballot != 0).into(),
        Vote::Uniform => (all || ballot == 0).into(),
        Vote::Ballot => ballot,
        Vote::Count => ballot.count_ones(),
    }
}

fn ballot(lanes: &[Option<Call>], condition: impl Fn(&Call) -> bool) -> u32 {
    let bits = lanes.iter().enumerate().filter(|(_, call)| call.as_ref().is_some_and(&condition));
    bits.fold(0, |mask, (lane, _)| mask | 1 << lane)
}

fn reduce(kind: Reduce, lanes: &Lanes) -> u32 {
    let values = lanes.iter().flatten().map(|call| call.word(0));
    let combine = |a: u32, b: u32| match kind {
        Reduce::Add => a.wrapping_add(b),
        Reduce::Min => (a as i32).min(b as i32) as u32,
        Reduce::Max => (a as i32).max(b as i32) as u32,
        Reduce::UnsignedMin => a.min(b),
        Reduce::UnsignedMax => a.max(b),
        Reduce::And => a & b,
        Reduce::Or => a | b,
        Reduce::Xor => a ^ b,
    };
    values.reduce(combine).unwrap_or(0)
}

/// Operands: mask, value, distance or lane, clamp and segment mask (PTX ISA, `shfl.sync`).
fn shuffle(lanes: &Lanes, mode: Shuffle, predicate: bool) -> Result<(), (Stop, usize)> {
    let read = |lane: usize, call: &Call| {
        let (source, inside) = source(lane as u32, mode, call.word(2) & 31, call.word(3));
        let from = if inside { source as usize } else { lane };
        let detail = || Stop::new(FaultKind::Divergence, format!("reads a register of lane {from}, which takes no part in the shuffle"));
        let value = lanes[from].ok_or_else(|| (detail(), lane))?.word(1);
        Ok((value, inside))
    };
    for (lane, call) in lanes.iter().enumerate() {
        let Some(call) = call else { continue };
        let (value, inside) = read(lane, call)?;
        call.give(0, value.into());
        if predicate {
            call.give(1, inside.into());
        }
    }
    Ok(())
}

/// The lane that `lane` reads, and whether that is inside its segment.
fn source(lane: u32, mode: Shuffle, b: u32, c: u32) -> (u32, bool) {
    let (clamp, segment) = (c & 31, c >> 8 & 31);
    let max = (lane & segment) | (clamp & !segment);
    let min = lane & segment;
    match mode {
        Shuffle::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= max as i32),
        Shuffle::Down => (lane + b, lane + b <= max),
        Shuffle::Xor => (lane ^ b, lane ^ b <= max),
        Shuffle::Index => (min | (b & !segment), min | (b & !segment) <= max),
    }
}

/// Lane `8 m + r` gives the address of row `r` of matrix `m`; lane `4 r + c` gets its elements `2 c, 2 c + 1`, or with
/// `transposed` elements `c'` of rows `2 c, 2 c + 1` for `c' = r`.
fn load_matrix(block: &mut Block<'_>, warp: usize, lanes: &Lanes, count: usize, transposed: bool) -> Result<(), (Stop, usize)> {
    for matrix in 0..count {
        let mut rows = [[0u16; 8]; 8];
        for (r, row) in rows.iter_mut().enumerate() {
            let lane = 8 * matrix + r;
            let address = lanes[lane].map_or(0, |call| call.arg(0));
            *row = load_row(block, warp * WARP + lane, address).map_err(|stop| (stop, lane))?;
        }
        for (lane, call) in lanes.iter().enumerate() {
            let (r, c) = (lane / 4, lane % 4 * 2);
            let (low, high) = if transposed { (rows[c][r], rows[c + 1][r]) } else { (rows[r][c], rows[r][c + 1]) };
            if let Some(call) = call {
                call.give(matrix, u64::from(high) << 16 | u64::from(low));
            }
        }
    }
    Ok(())
}

/// A row of 8 elements, read by `thread`.
fn load_row(block: &mut Block<'_>, thread: usize, address: u64) -> Result<[u16; 8], Stop> {
    block.current = thread;
    let host = block.access(&Access::shared(address, 16, Kind::Read))?;
    // SAFETY: `access` vouches for 16 aligned bytes.
    Ok(unsafe { *host.cast() })
}
