//! Asynchronous matrix products of a group of four warps.
//!
//! Source  PTX ISA, "Asynchronous warpgroup level matrix instructions". `m64nNk256` of bits: warp `w` of the group holds rows
//! `16 w..` of A as an `mma` of 16 rows does, and of the accumulators `4 j + i` the element `(16 w + g + 8 (i / 2), 8 j + 2 t + i % 2)`. B comes
//! from shared memory as lines of 32 bytes by a descriptor: bits 0–13 address / 16, 16–29 distance of the two halves of a line / 16
//! (only without swizzle), 32–45 distance of eight lines / 16, 62–63 swizzle.
//!
//! The product is formed at once, but until the wait for it the bytes that it reads are not to be written, and its results not to
//! be used. It reads through the asynchronous proxy, so what wrote the bytes needs a proxy fence.

use super::block::{Block, Call};
use super::clock::WARP;
use super::fault::{FaultKind, Stop};
use super::thread_op::dot_bytes;
use std::collections::VecDeque;

/// Threads of a group.
pub(super) const GROUP: usize = 4 * WARP;
/// Registers of A of a product.
const A: usize = 4;
/// Products of 32 bytes that `mokume.gpu.wgmma.m64k128.u8.s8` stands for, each with registers of its own.
const BYTE_STEPS: usize = 4;
/// By how much the matrix of each begins further on, as a descriptor counts.
const BYTE_UNITS: u64 = 2 * 128 / 16;

/// Products that a thread takes part in and has not waited for.
#[derive(Default)]
pub(super) struct Products {
    /// Whether registers were fenced since the last group.
    is_fenced: bool,
    /// Addresses of the 16 bytes that are being read; kept by the first thread of every warp, whose warp waits as one.
    open: Vec<u64>,
    groups: VecDeque<Vec<u64>>,
}

/// Orders the registers of the current thread before the products that follow.
pub(super) fn fence(block: &mut Block<'_>) {
    block.threads[block.current].products.is_fenced = true;
}

/// Ends a group of products.
pub(super) fn commit(block: &mut Block<'_>) {
    let products = &mut block.threads[block.current].products;
    let group = std::mem::take(&mut products.open);
    products.groups.push_back(group);
    products.is_fenced = false;
}

/// Waits for all but the last `left` groups.
pub(super) fn wait(block: &mut Block<'_>, left: usize) {
    let thread = block.current;
    let products = &mut block.threads[thread].products;
    let done = products.groups.len().saturating_sub(left);
    let lines: Vec<u64> = products.groups.drain(..done).flatten().collect();
    lines.iter().for_each(|&line| block.shared.release(line, thread, &block.clocks));
}

/// Checks that results of products may be used.
pub(super) fn check_waited(block: &Block<'_>) -> Result<(), Stop> {
    let products = &block.threads[block.current].products;
    match products.open.is_empty() && products.groups.is_empty() {
        true => Ok(()),
        false => Err(Stop::new(FaultKind::MissingWait, "uses the result of a product of a group of warps before the wait for it")),
    }
}

/// Runs products of `n` columns of the group that begins with thread `first`: operands are the registers of A, the descriptor of B,
/// the accumulators. A fault comes with its thread.
pub(super) fn run(block: &mut Block<'_>, first: usize, calls: &[Call], (n, bytes): (usize, bool)) -> Result<(), (Stop, usize)> {
    for (index, _) in calls.iter().enumerate() {
        check_fence(block, first + index).map_err(|stop| (stop, first + index))?;
    }
    let steps = if bytes { BYTE_STEPS } else { 1 };
    check_descriptors(calls, A * steps).map_err(|(stop, index)| (stop, first + index))?;
    let mut sums = vec![vec![0u32; n / 2]; calls.len()];
    for step in 0..steps {
        let b = Matrix::of(calls[0].arg(A * steps) + step as u64 * BYTE_UNITS);
        let lines = load(block, first, &b, n)?;
        for (index, sums) in sums.iter_mut().enumerate() {
            let (rows, lane) = (rows(calls, index / WARP * WARP, A * step), index % WARP);
            for (i, sum) in sums.iter_mut().enumerate() {
                let row = lane / 4 + 8 * (i % 4 / 2);
                let column = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
                *sum = sum.wrapping_add(dot(&rows[row], &lines[column], bytes));
            }
        }
    }
    for (call, sums) in calls.iter().zip(sums) {
        sums.into_iter().enumerate().for_each(|(i, sum)| call.give(i, call.word(A * steps + 1 + i).wrapping_add(sum).into()));
    }
    Ok(())
}

/// Of unsigned by signed bytes, or of bits.
fn dot(a: &[u32; 8], b: &[u32; 8], bytes: bool) -> u32 {
    let pairs = a.iter().zip(b);
    match bytes {
        true => pairs.fold(0, |sum, (&a, &b)| sum.wrapping_add(dot_bytes(a, b, false, true) as u32)),
        false => pairs.map(|(a, b)| (a & b).count_ones()).sum(),
    }
}

fn check_fence(block: &Block<'_>, thread: usize) -> Result<(), Stop> {
    match block.threads[thread].products.is_fenced {
        true => Ok(()),
        false => Err(Stop::new(FaultKind::MissingWait, "begins a product of a group of warps without a fence of its registers")),
    }
}

fn check_descriptors(calls: &[Call], at: usize) -> Result<(), (Stop, usize)> {
    match calls.iter().position(|call| call.arg(at) != calls[0].arg(at)) {
        Some(index) => Err((Stop::new(FaultKind::Divergence, "has another matrix descriptor than the rest of its group of warps"), index)),
        None => Ok(()),
    }
}

/// The 16 rows of A that the warp whose first call is `first` holds, in four registers from `at` on.
fn rows(calls: &[Call], first: usize, at: usize) -> [[u32; 8]; 16] {
    let mut rows = [[0; 8]; 16];
    for (lane, call) in calls[first..first + WARP].iter().enumerate() {
        let (g, t) = (lane / 4, lane % 4);
        (rows[g][t], rows[g + 8][t]) = (call.word(at), call.word(at + 1));
        (rows[g][t + 4], rows[g + 8][t + 4]) = (call.word(at + 2), call.word(at + 3));
    }
    rows
}

/// Where a matrix lies in shared memory.
struct Matrix {
    start: u64,
    halves: u64,
    eights: u64,
    /// Bytes after which the pattern of the swizzle repeats: 16 for none.
    swizzle: u64,
}

impl Matrix {
    fn of(descriptor: u64) -> Self {
        let field = |from: u32| (descriptor >> from & 0x3fff) << 4;
        let swizzle = [16, 128, 64, 32][(descriptor >> 62) as usize];
        Matrix { start: field(0), halves: field(16), eights: field(32), swizzle }
    }
    /// The address of the 16 bytes that are half `half` of line `line`.
    fn address(&self, line: u64, half: u64) -> u64 {
        let group = self.start + line / 8 * self.eights;
        if self.swizzle == 16 {
            return group + half * self.halves + line % 8 * 16;
        }
        let address = group + line % 8 * self.swizzle + half * 16;
        address ^ (address >> 7 & (self.swizzle / 16 - 1)) << 4
    }
}

/// The columns of B, read for all warps of the group.
fn load(block: &mut Block<'_>, first: usize, b: &Matrix, n: usize) -> Result<Vec<[u32; 8]>, (Stop, usize)> {
    let mut lines = vec![[0u32; 8]; n];
    for (index, line) in lines.iter_mut().enumerate() {
        for half in 0..2 {
            let address = b.address(index as u64, half as u64);
            for thread in (first..first + GROUP).step_by(WARP) {
                let words = hold(block, thread, address).map_err(|stop| (stop, thread))?;
                line[4 * half..4 * half + 4].copy_from_slice(&words);
            }
        }
    }
    Ok(lines)
}

/// Reads 16 bytes for the warp of `thread`, not to be written until it waits.
fn hold(block: &mut Block<'_>, thread: usize, address: u64) -> Result<[u32; 4], Stop> {
    let words = block.shared.hold(address, thread, &block.clocks)?;
    block.threads[thread].products.open.push(address);
    Ok(words)
}
