//! The block (CTA) of threads that runs: its memory, its threads, and what compiled code calls back.

use super::access::{Access, Kind, Space};
use super::clock::{Clocks, WARP};
use super::copy::Copies;
use super::fault::{FaultKind, Stop};
use super::global::Global;
use super::op::Op;
use super::shared::Shared;
use super::thread_op;
use super::wgmma::Products;
use corosensei::Yielder;
use std::cell::Cell;
use std::ops::Range;

/// What a thread gives up its turn for; the reason is in [`Thread::waiting`].
pub(super) type Turn = Yielder<(), ()>;

thread_local! {
    /// The block that runs on this host thread.
    static CURRENT: Cell<*mut Block<'static>> = const { Cell::new(std::ptr::null_mut()) };
}

/// A block while it runs.
pub(super) struct Block<'a> {
    pub(super) global: &'a mut Global,
    pub(super) shared: Shared,
    pub(super) clocks: Clocks,
    pub(super) threads: Vec<Thread>,
    /// The thread whose turn it is.
    pub(super) current: usize,
    pub(super) grid: [u32; 3],
    pub(super) size: [u32; 3],
    pub(super) index: [u32; 3],
    /// Operations of the compiled module, by number.
    pub(super) ops: &'a [Op],
    /// Constant data of the compiled module.
    pub(super) data: &'a [Range<u64>],
    /// The first mistake, with its thread and site.
    pub(super) stop: Option<(Stop, usize, u32)>,
}

/// A thread of the block.
pub(super) struct Thread {
    pub(super) turn: *const Turn,
    /// The stack on which it runs.
    pub(super) stack: Range<u64>,
    /// The collective operation in which it waits.
    pub(super) waiting: Option<Call>,
    pub(super) is_done: bool,
    pub(super) copies: Copies,
    pub(super) products: Products,
}

impl Thread {
    pub(super) fn new() -> Self {
        Thread {
            turn: std::ptr::null(),
            stack: 0..0,
            waiting: None,
            is_done: false,
            copies: Copies::default(),
            products: Products::default(),
        }
    }
}

/// A call of an operation: where its operands are and its results go, on the stack of the thread that waits for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) op: Op,
    pub(super) site: u32,
    args: *const u64,
    out: *mut u64,
}

impl Call {
    /// Operand `index`, in the low bytes.
    pub(super) fn arg(&self, index: usize) -> u64 {
        // SAFETY: compiled code passes as many words as the operation has operands, and waits while this call lives.
        unsafe { *self.args.add(index) }
    }
    pub(super) fn word(&self, index: usize) -> u32 {
        self.arg(index) as u32
    }
    pub(super) fn float(&self, index: usize) -> f32 {
        f32::from_bits(self.word(index))
    }
    /// Sets result `index`.
    pub(super) fn give(&self, index: usize, value: u64) {
        // SAFETY: as for the operands.
        unsafe { *self.out.add(index) = value }
    }
    pub(super) fn give_float(&self, value: f32) {
        self.give(0, value.to_bits().into());
    }
}

impl Block<'_> {
    /// The host address of an access of the current thread, when it is right.
    pub(super) fn access(&mut self, access: &Access) -> Result<*mut u8, Stop> {
        let address = access.address;
        if address & ((1 << access.align) - 1) != 0 {
            let detail = format!("{} {} bytes at {address:#x}, which is no multiple of {}", access.verb(), access.bytes, 1 << access.align);
            return Err(Stop::at(FaultKind::Misaligned, address, detail));
        }
        if Global::contains(address) && access.space != Space::Shared {
            self.global.access(access)
        } else if access.space == Space::Shared || (access.space == Space::Generic && Shared::contains(address)) {
            self.shared.access(access, self.current, &self.clocks)
        } else {
            self.host(access)
        }
    }
    /// Stack variables and constant data of the module are where the host has them.
    fn host(&self, access: &Access) -> Result<*mut u8, Stop> {
        let (from, to) = (access.address, access.address.saturating_add(access.bytes.into()));
        let inside = |range: &Range<u64>| range.start <= from && to <= range.end;
        if inside(&self.threads[self.current].stack) || (access.kind == Kind::Read && self.data.iter().any(inside)) {
            return Ok(from as *mut u8);
        }
        let detail = format!("{} {} bytes at {from:#x}, where no memory is", access.verb(), access.bytes);
        Err(Stop::at(FaultKind::OutOfBounds, from, detail))
    }
    /// Threads of warp `warp`.
    pub(super) fn warp(&self, warp: usize) -> Range<usize> {
        warp * WARP..((warp + 1) * WARP).min(self.threads.len())
    }
    /// Coordinates of a thread.
    pub(super) fn coordinates(&self, thread: usize) -> [u32; 3] {
        let [x, y, _] = self.size;
        let thread = thread as u32;
        [thread % x, thread / x % y, thread / (x * y)]
    }
}

/// Runs `body` with `block` as the one that compiled code calls back.
pub(super) fn enter<R>(block: *mut Block<'_>, body: impl FnOnce() -> R) -> R {
    let before = CURRENT.replace(block.cast());
    let result = body();
    CURRENT.set(before);
    result
}

/// Called by compiled code before every access; gives the host address.
pub(super) extern "C" fn access(address: u64, what: u64, site: u32) -> *mut u8 {
    // SAFETY: compiled code only runs inside `enter`, on one thread, and the borrow ends here.
    let block = unsafe { &mut *CURRENT.get() };
    match block.access(&Access::decode(address, what)) {
        Ok(host) => host,
        Err(stop) => halt(stop, site),
    }
}

/// Called by compiled code instead of every operation of the device.
pub(super) extern "C" fn call(op: u32, site: u32, args: *const u64, out: *mut u64) {
    // SAFETY: as in `access`.
    let block = unsafe { &mut *CURRENT.get() };
    let call = Call { op: block.ops[op as usize], site, args, out };
    if !call.op.is_collective() {
        return thread_op::run(block, &call).unwrap_or_else(|stop| halt(stop, site));
    }
    let thread = &mut block.threads[block.current];
    thread.waiting = Some(call);
    let turn = thread.turn;
    suspend(turn);
}

/// Ends the current thread, which is never resumed.
fn halt<R>(stop: Stop, site: u32) -> R {
    // SAFETY: as in `access`.
    let block = unsafe { &mut *CURRENT.get() };
    block.stop = Some((stop, block.current, site));
    let turn = block.threads[block.current].turn;
    loop {
        suspend(turn);
    }
}

fn suspend(turn: *const Turn) {
    // SAFETY: set when the thread's coroutine began, on whose stack this runs.
    unsafe { (*turn).suspend(()) }
}
