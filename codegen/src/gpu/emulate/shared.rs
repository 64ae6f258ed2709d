//! Shared memory of one block, which remembers of every byte who wrote and who read it last.

use super::access::{Access, Kind};
use super::clock::Clocks;
use super::fault::{FaultKind, Stop};

/// The first address of shared memory; below it nothing is, so that a null address is out of bounds. What is aligned at this
/// address is aligned for every swizzled layout.
pub(super) const BASE: u64 = 1024;
/// Addresses below belong to shared memory.
pub(super) const END: u64 = 1 << 20;

/// A shared array of a kernel.
#[derive(Debug, Clone)]
pub(super) struct Array {
    pub(super) name: String,
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// Shared memory of the block that runs.
pub(super) struct Shared {
    bytes: Vec<Line>,
    marks: Vec<Mark>,
    arrays: Vec<Array>,
    /// Counts accesses.
    time: u32,
    /// By thread: when it last made its writes visible to the asynchronous proxy.
    fences: Vec<u32>,
}

#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Line([u8; 128]);

/// What is known of a byte.
#[derive(Clone, Copy, Default)]
struct Mark {
    write_epoch: u32,
    read_epoch: u32,
    write_time: u32,
    writer: u16,
    reader: u16,
    state: State,
    /// Asynchronous products that read it.
    holders: u8,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nobody wrote it.
    #[default]
    Unset,
    /// Written.
    Set,
    /// Written by an atomic operation.
    Atomic,
    /// The destination of a copy that was not waited for.
    Pending,
}

impl Shared {
    /// Whether `address` is one of shared memory, inside an array or not.
    pub(super) fn contains(address: u64) -> bool {
        address < END
    }
    /// Memory for these arrays, with content that nobody wrote.
    pub(super) fn new(arrays: Vec<Array>) -> Self {
        let end = arrays.iter().map(|array| array.start + array.bytes - BASE).max().unwrap_or(0) as usize;
        Shared { bytes: vec![Line([0xff; 128]); end.div_ceil(128)], marks: vec![Mark::default(); end], arrays, time: 1, fences: Vec::new() }
    }
    /// Forgets everything, for the next block.
    pub(super) fn clear(&mut self) {
        self.bytes.fill(Line([0xff; 128]));
        self.marks.fill(Mark::default());
        self.fences.clear();
    }
    /// The host address of an access by `thread`, which is checked and recorded.
    pub(super) fn access(&mut self, access: &Access, thread: usize, clocks: &Clocks) -> Result<*mut u8, Stop> {
        let start = self.offset(access.address, access.bytes as usize)?;
        self.time += 1;
        for index in start..start + access.bytes as usize {
            let mut mark = self.marks[index];
            if let Err((kind, what)) = mark.touch(access.kind, thread, clocks, self.time) {
                return Err(self.stop(kind, BASE + index as u64, index, access.verb(), &what));
            }
            self.marks[index] = mark;
        }
        Ok(self.host(start))
    }
    /// Marks the destination of an asynchronous copy of `thread` as not to be used.
    pub(super) fn promise(&mut self, address: u64, bytes: usize, thread: usize, clocks: &Clocks) -> Result<(), Stop> {
        let write = Access::shared(address, bytes as u32, Kind::Write);
        self.access(&write, thread, clocks)?;
        let start = self.offset(address, bytes)?;
        self.marks[start..start + bytes].iter_mut().for_each(|mark| mark.state = State::Pending);
        Ok(())
    }
    /// Completes an asynchronous copy that [`Shared::promise`] announced.
    pub(super) fn fulfill(&mut self, address: u64, content: &[u8], thread: usize, clocks: &Clocks) -> Result<(), Stop> {
        let start = self.offset(address, content.len())?;
        self.time += 1;
        for mark in &mut self.marks[start..start + content.len()] {
            mark.set(State::Set, thread, clocks, self.time);
        }
        // SAFETY: the offset was checked, and host memory of that length begins there.
        unsafe { std::slice::from_raw_parts_mut(self.host(start), content.len()) }.copy_from_slice(content);
        Ok(())
    }
    /// Why a read at `address` came too early, when some thread writes there.
    pub(super) fn writer(&self, address: u64) -> Option<Stop> {
        let index = address.checked_sub(BASE)? as usize;
        let mark = self.marks.get(index).filter(|mark| mark.state != State::Unset)?;
        let what = format!("that thread {} writes only then, after the last barrier of both", mark.writer);
        Some(self.stop(FaultKind::MissingBarrier, address, index, "reads", &what))
    }
    /// Makes what `thread` wrote visible to the asynchronous proxy.
    pub(super) fn fence(&mut self, thread: usize) {
        self.fences.resize(self.fences.len().max(thread + 1), 0);
        self.fences[thread] = self.time;
    }
    /// Reads 16 bytes through the asynchronous proxy; they are not to be written before [`Shared::release`].
    pub(super) fn hold(&mut self, address: u64, thread: usize, clocks: &Clocks) -> Result<[u32; 4], Stop> {
        let host = self.access(&Access::shared(address, 16, Kind::Read), thread, clocks)?;
        let start = (address - BASE) as usize;
        for index in start..start + 16 {
            let mark = self.marks[index];
            if self.fences.get(mark.writer as usize).is_none_or(|&fence| fence < mark.write_time) {
                let what = format!("through the asynchronous proxy, without a proxy fence after thread {} wrote", mark.writer);
                return Err(self.stop(FaultKind::MissingWait, address, index, "reads", &what));
            }
            self.marks[index].holders += 1;
        }
        // SAFETY: `access` vouches for 16 aligned bytes.
        Ok(unsafe { *host.cast() })
    }
    /// Ends a [`Shared::hold`].
    pub(super) fn release(&mut self, address: u64, thread: usize, clocks: &Clocks) {
        let start = (address - BASE) as usize;
        for mark in &mut self.marks[start..start + 16] {
            mark.holders -= 1;
            (mark.reader, mark.read_epoch) = (thread as u16, clocks.epoch(thread));
        }
    }
    /// Where `bytes` from `address` on lie, when they are inside one array.
    fn offset(&self, address: u64, bytes: usize) -> Result<usize, Stop> {
        let holds = |array: &&Array| array.start <= address && address + bytes as u64 <= array.start + array.bytes;
        match self.arrays.iter().find(holds) {
            Some(_) => Ok((address - BASE) as usize),
            None => Err(Stop::at(FaultKind::OutOfBounds, address, format!("{bytes} bytes {}", self.place(address)))),
        }
    }
    /// `at byte 16 of shared array `tile` (512 bytes)`
    fn place(&self, address: u64) -> String {
        let before = self.arrays.iter().filter(|array| array.start <= address).max_by_key(|array| array.start);
        match before {
            Some(array) => format!("at byte {} of shared array `{}` ({} bytes)", address - array.start, array.name, array.bytes),
            None => format!("at shared address {address:#x}, where no array is"),
        }
    }
    fn stop(&self, kind: FaultKind, address: u64, index: usize, verb: &str, what: &str) -> Stop {
        Stop::at(kind, address, format!("{verb} shared memory {what}, {}", self.place(BASE + index as u64)))
    }
    fn host(&mut self, offset: usize) -> *mut u8 {
        // SAFETY: offsets are inside the arrays, whose bytes all exist.
        unsafe { self.bytes.as_mut_ptr().cast::<u8>().add(offset) }
    }
}

type Wrong = (FaultKind, String);

impl Mark {
    fn touch(&mut self, kind: Kind, thread: usize, clocks: &Clocks, time: u32) -> Result<(), Wrong> {
        if self.state == State::Pending {
            let why = format!("to which thread {} copies asynchronously, before the wait", self.writer);
            return Err((FaultKind::MissingWait, why));
        }
        if kind != Kind::Write && self.state == State::Unset {
            return Err((FaultKind::Uninitialized, "that nobody wrote yet".to_string()));
        }
        if kind != Kind::Read && self.holders > 0 {
            return Err((FaultKind::MissingWait, "from which a product of a group of warps reads, before the wait".to_string()));
        }
        let both_atomic = kind == Kind::Atomic && self.state == State::Atomic;
        if self.state != State::Unset && !both_atomic && !clocks.is_ordered(thread, self.writer.into(), self.write_epoch) {
            return Err(race("wrote", self.writer));
        }
        if kind != Kind::Read && self.read_epoch != 0 && !clocks.is_ordered(thread, self.reader.into(), self.read_epoch) {
            return Err(race("read", self.reader));
        }
        match kind {
            Kind::Read => (self.reader, self.read_epoch) = (thread as u16, clocks.epoch(thread)),
            Kind::Write => self.set(State::Set, thread, clocks, time),
            Kind::Atomic => self.set(State::Atomic, thread, clocks, time),
        }
        Ok(())
    }
    fn set(&mut self, state: State, thread: usize, clocks: &Clocks, time: u32) {
        *self = Mark { state, writer: thread as u16, write_epoch: clocks.epoch(thread), write_time: time, ..*self };
    }
}

fn race(did: &str, other: u16) -> Wrong {
    (FaultKind::MissingBarrier, format!("that thread {other} {did} after the last barrier"))
}
