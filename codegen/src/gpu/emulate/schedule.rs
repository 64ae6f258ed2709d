//! Runs a block: its threads are coroutines that take turns in order, each until it waits for others.
//!
//! Collective operations run when everyone they need has come. When nobody can go on, the reason is a fault.

use super::block::{Block, Call, Thread, Turn, enter};
use super::clock::WARP;
use super::fault::{FaultKind, Stop};
use super::op::Op;
use super::warp::{self, Lanes};
use super::wgmma::{self, GROUP};
use corosensei::Coroutine;
use corosensei::stack::{DefaultStack, Stack};

/// A compiled kernel: takes the address of its parameters.
pub(super) type Entry = extern "C" fn(*const u64);

/// A mistake with its thread and site.
pub(super) type Fail = (Stop, usize, u32);

/// Bytes of a thread's stack.
const STACK_BYTES: usize = 256 << 10;

/// Stacks, kept from block to block.
#[derive(Default)]
pub(super) struct Stacks(Vec<DefaultStack>);

impl Stacks {
    /// Room for `count` threads that wait for each other.
    pub(super) fn grow(&mut self, count: usize) -> Result<(), Stop> {
        while self.0.len() < count {
            let stack = DefaultStack::new(STACK_BYTES);
            self.0.push(stack.map_err(|error| Stop::new(FaultKind::Launch, format!("no stack for a thread: {error}")))?);
        }
        Ok(())
    }
}

type Fiber<'a> = Coroutine<(), (), (), &'a mut DefaultStack>;

/// Runs all threads of a kernel in which none waits for another: one after the other, on one stack.
pub(super) fn run_alone(block: &mut Block<'_>, entry: Entry, args: &[u64], stacks: &mut Stacks) -> Result<(), Fail> {
    let (block, args): (*mut Block<'_>, _) = (block, args.as_ptr());
    let stack = &mut stacks.0[0];
    let bounds = bounds(stack);
    let threads = move |turn: &Turn| {
        // SAFETY: the block outlives the fiber, and nobody else uses it while the fiber runs, but what compiled code calls back.
        for index in 0..unsafe { (*block).threads.len() } {
            unsafe { begin(&mut *block, index, turn, bounds.clone()) };
            entry(args);
        }
    };
    // SAFETY: the fiber ends, or is reset, before this function does.
    let mut fiber: Fiber<'_> = unsafe { Coroutine::with_stack_unchecked(stack, move |turn, ()| threads(turn)) };
    enter(block, || fiber.resume(()));
    reset(&mut fiber);
    // SAFETY: the fiber is over.
    unsafe { (*block).stop.take() }.map_or(Ok(()), Err)
}

/// Runs all threads of a kernel that wait for each other.
pub(super) fn run_together(block: &mut Block<'_>, entry: Entry, args: &[u64], stacks: &mut Stacks) -> Result<(), Fail> {
    let (block, args): (*mut Block<'_>, _) = (block, args.as_ptr());
    let spawn = |(index, stack): (usize, _)| fiber(block, index, stack, entry, args);
    // SAFETY: no fiber runs yet.
    let count = unsafe { (*block).threads.len() };
    let mut fibers: Vec<Fiber<'_>> = stacks.0.iter_mut().take(count).enumerate().map(spawn).collect();
    let result = enter(block, || turns(block, &mut fibers));
    fibers.iter_mut().for_each(reset);
    result
}

fn fiber<'s>(block: *mut Block<'_>, index: usize, stack: &'s mut DefaultStack, entry: Entry, args: *const u64) -> Fiber<'s> {
    let bounds = bounds(stack);
    let thread = move |turn: &Turn| {
        // SAFETY: the block outlives the fiber; while the fiber runs, only it uses the block.
        unsafe { begin(&mut *block, index, turn, bounds) };
        entry(args);
        unsafe { (&mut (*block).threads)[index].is_done = true };
    };
    // SAFETY: the fibers end, or are reset, before what they borrow does.
    unsafe { Coroutine::with_stack_unchecked(stack, move |turn, ()| thread(turn)) }
}

fn bounds(stack: &DefaultStack) -> std::ops::Range<u64> {
    stack.limit().get() as u64..stack.base().get() as u64
}

fn begin(block: &mut Block<'_>, index: usize, turn: &Turn, stack: std::ops::Range<u64>) {
    block.current = index;
    block.threads[index] = Thread { turn, stack, ..Thread::new() };
}

/// Leaves a thread where it is. Only compiled code and hooks without destructors are on its stack.
fn reset(fiber: &mut Fiber<'_>) {
    // SAFETY: as said above.
    unsafe { fiber.force_reset() };
}

fn turns(block: *mut Block<'_>, fibers: &mut [Fiber<'_>]) -> Result<(), Fail> {
    loop {
        let mut failed = None;
        for (index, fiber) in fibers.iter_mut().enumerate() {
            // SAFETY: between turns nobody else uses the block.
            let block = unsafe { &mut *block };
            if fiber.done() || block.threads[index].waiting.is_some() {
                continue;
            }
            block.current = index;
            fiber.resume(());
            if let Some(fail) = block.stop.take() {
                failed = Some(fail);
                break;
            }
        }
        if let Some(fail) = failed {
            return Err(explain(block, fibers, fail));
        }
        // SAFETY: as above.
        let block = unsafe { &mut *block };
        if block.threads.iter().all(|thread| thread.is_done) {
            return Ok(());
        }
        if !(warps(block)? | groups(block)? | barriers(block)?) {
            return Err(diagnose(block));
        }
    }
}

/// A read of shared memory that nobody wrote yet came too early if a thread whose turn comes later writes there.
fn explain(block: *mut Block<'_>, fibers: &mut [Fiber<'_>], (stop, thread, site): Fail) -> Fail {
    let address = stop.address.filter(|_| stop.kind == FaultKind::Uninitialized);
    let Some(address) = address else { return (stop, thread, site) };
    for (index, fiber) in fibers.iter_mut().enumerate().skip(thread + 1) {
        // SAFETY: between turns nobody else uses the block.
        let block = unsafe { &mut *block };
        if !fiber.done() && block.threads[index].waiting.is_none() {
            block.current = index;
            fiber.resume(());
        }
    }
    // SAFETY: as above.
    (unsafe { &*block }.shared.writer(address).unwrap_or(stop), thread, site)
}

/// Runs every operation of a warp for which all of its lanes have come; gives whether there was one.
fn warps(block: &mut Block<'_>) -> Result<bool, Fail> {
    let mut any = false;
    for warp in 0..block.threads.len().div_ceil(WARP) {
        for first in block.warp(warp) {
            let Some(lanes) = gathered(block, warp, first) else { continue };
            any = true;
            let call = block.threads[first].waiting;
            let Some(call) = call else { continue };
            warp::run(block, warp, call.op, &lanes).map_err(|(stop, lane)| (stop, warp * WARP + lane, call.site))?;
            let threads = block.warp(warp);
            let here = threads.filter(|thread| lanes[thread % WARP].is_some());
            here.for_each(|thread| block.threads[thread].waiting = None);
        }
    }
    Ok(any)
}

/// The calls of all lanes that the call of `thread` needs, when they all wait in it.
fn gathered(block: &Block<'_>, warp: usize, thread: usize) -> Option<Lanes> {
    let call = block.threads[thread].waiting.filter(|call| call.op.is_warp())?;
    let members = warp::members(&call);
    let mut lanes: Lanes = [None; WARP];
    for lane in (0..WARP).filter(|lane| members >> lane & 1 != 0) {
        let other = block.threads.get(warp * WARP + lane)?.waiting?;
        lanes[lane] = Some(other).filter(|other| fits(&call, other));
        lanes[lane]?;
    }
    lanes[thread % WARP].is_some().then_some(lanes)
}

fn fits(a: &Call, b: &Call) -> bool {
    a.op == b.op && warp::members(a) == warp::members(b) && (!a.op.is_aligned() || a.site == b.site)
}

/// Runs every product of a group of warps for which all threads have come; gives whether there was one.
fn groups(block: &mut Block<'_>) -> Result<bool, Fail> {
    let mut any = false;
    for first in (0..block.threads.len()).step_by(GROUP) {
        let Some(call) = block.threads[first].waiting else { continue };
        let Op::GroupMma { n, bytes } = call.op else { continue };
        let calls: Option<Vec<Call>> = (first..first + GROUP).map(|thread| same_call(block, thread, &call)).collect();
        let Some(calls) = calls else { continue };
        any = true;
        wgmma::run(block, first, &calls, (n.into(), bytes)).map_err(|(stop, thread)| (stop, thread, call.site))?;
        block.threads[first..first + GROUP].iter_mut().for_each(|thread| thread.waiting = None);
    }
    Ok(any)
}

/// The call of `thread` when it is the same instruction as `call`.
fn same_call(block: &Block<'_>, thread: usize, call: &Call) -> Option<Call> {
    block.threads.get(thread)?.waiting.filter(|other| (other.op, other.site) == (call.op, call.site))
}

/// Lets threads pass the barriers at which all have come; gives whether there was one.
fn barriers(block: &mut Block<'_>) -> Result<bool, Fail> {
    let mut any = false;
    for first in 0..block.threads.len() {
        let Some(call) = block.threads[first].waiting else { continue };
        let Some((threads, expected)) = arrived(block, &call) else { continue };
        if threads.len() < expected {
            continue;
        }
        any = true;
        check_warps(block, &threads)?;
        pass(block, &threads, &call);
    }
    Ok(any)
}

/// The threads at the same barrier as `call`, and how many it waits for.
fn arrived(block: &Block<'_>, call: &Call) -> Option<(Vec<usize>, usize)> {
    let Op::Barrier { counted, .. } = call.op else { return None };
    let here = |other: &Call| matches!(other.op, Op::Barrier { .. }) && other.word(0) == call.word(0);
    let threads = (0..block.threads.len()).filter(|&thread| block.threads[thread].waiting.as_ref().is_some_and(here));
    let expected = if counted { call.word(1) as usize } else { block.threads.len() };
    Some((threads.collect(), expected))
}

/// The threads of a warp come to a barrier together, by the same instruction.
fn check_warps(block: &Block<'_>, threads: &[usize]) -> Result<(), Fail> {
    let site = |thread: usize| block.threads[thread].waiting.map(|call| (call.op, call.site));
    for &thread in threads {
        let other = block.warp(thread / WARP).find(|&other| site(other) != site(thread));
        if let (Some(other), Some((_, here))) = (other, site(thread)) {
            let detail = format!("waits at a barrier, but thread {other} of its warp {}", whereabouts(block, other));
            return Err((Stop::new(FaultKind::Divergence, detail), thread, here));
        }
    }
    Ok(())
}

fn pass(block: &mut Block<'_>, threads: &[usize], call: &Call) {
    let calls: Vec<Option<Call>> = threads.iter().map(|&thread| block.threads[thread].waiting).collect();
    if let Op::Barrier { counted, reduce: Some(vote) } = call.op {
        let index = if counted { 2 } else { 1 };
        let value = warp::count(vote, &calls, index);
        calls.iter().flatten().for_each(|call| call.give(0, value.into()));
    }
    let mut warps: Vec<usize> = threads.iter().map(|thread| thread / WARP).collect();
    warps.dedup();
    block.clocks.synchronize(&warps);
    threads.iter().for_each(|&thread| block.threads[thread].waiting = None);
}

/// Why nobody can go on.
fn diagnose(block: &Block<'_>) -> Fail {
    let waiting = |wanted: fn(Op) -> bool| {
        let calls = block.threads.iter().enumerate().filter_map(|(index, thread)| Some((index, thread.waiting?)));
        calls.into_iter().find(|(_, call)| wanted(call.op))
    };
    if let Some((thread, call)) = waiting(Op::is_warp) {
        return (Stop::new(FaultKind::Divergence, missing_lane(block, thread, &call)), thread, call.site);
    }
    if let Some((thread, call)) = waiting(|op| matches!(op, Op::GroupMma { .. })) {
        return (Stop::new(FaultKind::Divergence, missing_in_group(block, thread, &call)), thread, call.site);
    }
    match waiting(|op| matches!(op, Op::Barrier { .. })) {
        Some((thread, call)) => (Stop::new(FaultKind::Barrier, missing_threads(block, &call)), thread, call.site),
        None => (Stop::new(FaultKind::Barrier, "no thread can go on"), 0, 0),
    }
}

fn missing_lane(block: &Block<'_>, thread: usize, call: &Call) -> String {
    let warp = thread / WARP;
    let members = warp::members(call);
    if members >> (thread % WARP) & 1 == 0 {
        return format!("takes part in an operation of the lanes {members:#010x} without being one of them");
    }
    let is_here = |thread: usize| block.threads.get(thread).and_then(|other| other.waiting).is_some_and(|other| fits(call, &other));
    let lanes = (0..WARP).filter(|lane| members >> lane & 1 != 0).map(|lane| warp * WARP + lane);
    let missing = lanes.into_iter().find(|&other| !is_here(other));
    match missing {
        Some(other) => format!("waits in a collective operation for thread {other}, which {}", whereabouts(block, other)),
        None => "waits in a collective operation".to_string(),
    }
}

fn missing_in_group(block: &Block<'_>, thread: usize, call: &Call) -> String {
    let first = thread / GROUP * GROUP;
    let missing = (first..first + GROUP).find(|&other| same_call(block, other, call).is_none()).unwrap_or(thread);
    format!("waits in a product of a group of warps for thread {missing}, which {}", whereabouts(block, missing))
}

fn missing_threads(block: &Block<'_>, call: &Call) -> String {
    let (threads, expected) = arrived(block, call).unwrap_or_default();
    let missing = (0..block.threads.len()).find(|thread| !threads.contains(thread));
    let other = missing.map_or(String::new(), |thread| format!("; thread {thread} {}", whereabouts(block, thread)));
    format!("waits at barrier {} for {expected} threads, of which {} came{other}", call.word(0), threads.len())
}

fn whereabouts(block: &Block<'_>, thread: usize) -> String {
    match block.threads.get(thread) {
        None => "does not exist".to_string(),
        Some(Thread { is_done: true, .. }) => "has ended".to_string(),
        Some(Thread { waiting: Some(call), .. }) if !matches!(call.op, Op::Barrier { .. }) => "waits in a collective operation".to_string(),
        Some(Thread { waiting: Some(call), .. }) => format!("waits at barrier {}", call.word(0)),
        Some(_) => "goes on".to_string(),
    }
}
