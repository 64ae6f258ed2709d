//! Asynchronous copies: done as late as the kernel allows, so that a wait that is missing shows.

use super::access::{Access, Kind, Space};
use super::block::{Block, Call};
use super::fault::{FaultKind, Stop};
use std::collections::VecDeque;

/// Copies that a thread began and has not waited for.
#[derive(Default)]
pub(super) struct Copies {
    groups: VecDeque<Vec<Copy>>,
    open: Vec<Copy>,
}

struct Copy {
    to: u64,
    content: Vec<u8>,
}

/// Begins a copy of `bytes`, of which the last ones are 0 when a third operand says how many come from the source.
pub(super) fn begin(block: &mut Block<'_>, call: &Call, bytes: u32, counted: bool) -> Result<(), Stop> {
    let (to, from) = (call.arg(0), call.arg(1));
    let taken = if counted { call.word(2) } else { bytes };
    if taken > bytes {
        return Err(Stop::new(FaultKind::Operand, format!("copies {taken} of {bytes} bytes")));
    }
    check_alignment(to, from, bytes)?;
    let mut content = vec![0; bytes as usize];
    if taken > 0 {
        let source = block.access(&Access { address: from, bytes: taken, align: 0, kind: Kind::Read, space: Space::Global })?;
        // SAFETY: `access` vouches for that many bytes.
        content[..taken as usize].copy_from_slice(unsafe { std::slice::from_raw_parts(source, taken as usize) });
    }
    block.shared.promise(to, bytes as usize, block.current, &block.clocks)?;
    block.threads[block.current].copies.open.push(Copy { to, content });
    Ok(())
}

fn check_alignment(to: u64, from: u64, bytes: u32) -> Result<(), Stop> {
    match [to, from].into_iter().find(|address| !address.is_multiple_of(bytes.into())) {
        Some(address) => {
            let detail = format!("copies {bytes} bytes asynchronously, {address:#x} is no multiple of that");
            Err(Stop::at(FaultKind::Misaligned, address, detail))
        }
        None => Ok(()),
    }
}

/// Ends the group of the copies begun since the last one.
pub(super) fn commit(block: &mut Block<'_>) {
    let copies = &mut block.threads[block.current].copies;
    let group = std::mem::take(&mut copies.open);
    copies.groups.push_back(group);
}

/// Completes all but the last `left` groups.
pub(super) fn wait(block: &mut Block<'_>, left: usize) -> Result<(), Stop> {
    let thread = block.current;
    let copies = &mut block.threads[thread].copies;
    let done = copies.groups.len().saturating_sub(left);
    let ready: Vec<Copy> = copies.groups.drain(..done).flatten().collect();
    ready.iter().try_for_each(|copy| block.shared.fulfill(copy.to, &copy.content, thread, &block.clocks))
}

/// Completes everything, committed or not.
pub(super) fn wait_all(block: &mut Block<'_>) -> Result<(), Stop> {
    commit(block);
    wait(block, 0)
}
