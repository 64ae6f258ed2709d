//! What a kernel of a product costs on a machine: bytes that come from memory, products that are formed, and loads that wait.
//!
//! A multiprocessor has four quarters, each of which runs its warps. Per chunk and eight columns a warp forms products, unpacks weights,
//! loads from shared memory and ends scale blocks; these overlap, so mostly the longest counts. A team waits for memory once per round of its
//! stages. The blocks that the busiest multiprocessor runs bound the whole from one side, memory from the other.
//!
//! Rates of products of bytes are those that NVIDIA states per architecture; of bits those of sm_80 (eight times bytes) and GA10x (four
//! times). sm_90a states none for bits: taken are the rate of sm_80 for `mma`, and for `wgmma` eight times that of bytes, whose operands
//! are as many bits. `mma` of bytes reaches there about five eighths of `wgmma`.

use super::arch::Arch;
use super::choose::class;
use super::spec::{CHUNK, Layout, Lowering, MatmulSpec, Store, Tile, padded_block};
use super::tuning::Measured;
use crate::bit_product::BitProduct;

/// Cycles between a load and its bytes, under load.
const LATENCY: f64 = 1000.0;
/// Bytes that a multiprocessor takes from the second cache per cycle.
const CACHE_BYTES: f64 = 48.0;
/// Bytes that a quarter of a multiprocessor takes from shared memory per cycle.
const SHARED_BYTES: f64 = 32.0;
/// Cycles of a quarter for an instruction of a warp on integers.
const INTEGER: f64 = 2.0;
/// Share of what runs beside the longest that it is held up by.
const HELD_UP: f64 = 0.25;
/// Share of the shorter of what memory and what multiprocessors take that shows beside the longer.
const BESIDE: f64 = 0.1;
/// Cycles for a barrier of a block.
const BARRIER: f64 = 40.0;
/// Nanoseconds from the end of a kernel to the beginning of the next.
const LAUNCH_NS: f64 = 1500.0;
/// Share of the bandwidth of memory that kernels reach.
const REACHED: f64 = 0.9;
/// Rows that stand for the last class.
const MANY: usize = 512;

/// A machine.
struct Machine {
    processors: usize,
    gigahertz: f64,
    /// Bytes from memory per nanosecond.
    bandwidth: f64,
    /// Products of bytes per cycle and multiprocessor: by `mma`, by `wgmma`.
    bytes: (f64, f64),
    /// The same of bits.
    bits: (f64, f64),
    /// Threads that a multiprocessor holds.
    threads: u32,
}

impl Machine {
    fn of(arch: Arch) -> Self {
        let machine =
            |processors, gigahertz, bandwidth, bytes, bits, threads| Machine { processors, gigahertz, bandwidth, bytes, bits, threads };
        match arch {
            Arch::Sm80 => machine(108, 1.41, 1935.0, (2048.0, 0.0), (16384.0, 0.0), 2048),
            Arch::Sm86 => machine(82, 1.70, 936.0, (1024.0, 0.0), (4096.0, 0.0), 1536),
            Arch::Sm89 => machine(128, 2.52, 1008.0, (1024.0, 0.0), (4096.0, 0.0), 1536),
            Arch::Sm90a => machine(132, 1.75, 3350.0, (2560.0, 4096.0), (16384.0, 32768.0), 2048),
            Arch::Sm100 => machine(148, 1.85, 8000.0, (2048.0, 0.0), (0.0, 0.0), 2048),
            Arch::Sm120 => machine(170, 2.41, 1792.0, (1024.0, 0.0), (0.0, 0.0), 1536),
        }
    }
    /// Products per cycle and multiprocessor.
    fn rate(&self, lowering: Lowering) -> f64 {
        match lowering {
            Lowering::Binary => self.bits.0,
            Lowering::BinaryGroup => self.bits.1,
            Lowering::Integer => self.bytes.0,
            Lowering::IntegerGroup => self.bytes.1,
        }
    }
}

/// Nanoseconds that a kernel is estimated to take for as many rows as stand for the class of `m`.
pub fn estimate(arch: Arch, product: &BitProduct, layout: &Layout, m: usize, kernel: &Measured) -> f64 {
    let m = class(m).min(MANY);
    let store = if kernel.parts == 1 { Store::Scaled(Default::default()) } else { Store::Raw };
    let spec = MatmulSpec { product: *product, lowering: kernel.lowering, tile: kernel.tile, store };
    let work = Work { machine: Machine::of(arch), arch, spec, layout, m, parts: kernel.parts };
    let (memory, processor) = (work.memory_ns(), work.processor_ns());
    let multiply = memory.max(processor) + BESIDE * memory.min(processor);
    let finish = if kernel.parts == 1 { 0.0 } else { work.finish_ns() };
    LAUNCH_NS + multiply + finish
}

struct Work<'w> {
    machine: Machine,
    arch: Arch,
    spec: MatmulSpec,
    layout: &'w Layout,
    m: usize,
    parts: usize,
}

impl Work<'_> {
    fn tile(&self) -> Tile {
        self.spec.tile
    }
    /// Bytes of results or raw sums.
    fn stored_bytes(&self) -> f64 {
        let each = if self.parts == 1 { 1 } else { self.spec.raw_parts(self.layout, self.parts) };
        (each * self.m * self.layout.n * 4) as f64
    }
    /// What memory alone takes: every operand once.
    fn memory_ns(&self) -> f64 {
        let numbers = 1 + usize::from(self.spec.w_zero) + usize::from(self.spec.a_center);
        let weights = self.layout.weight_bytes() + numbers * self.layout.blocks * self.layout.padded_n() * 4;
        let rows = self.spec.row_bytes(self.layout, self.m) + self.m * self.layout.blocks * 4;
        ((weights + rows) as f64 + self.stored_bytes()) / (self.machine.bandwidth * REACHED) + LATENCY / self.machine.gigahertz
    }
    /// What the busiest multiprocessor takes.
    fn processor_ns(&self) -> f64 {
        let [x, y, z] = self.spec.grid(self.layout, self.m, self.parts).map(|count| count as usize);
        let busiest = (x * y * z).div_ceil(self.machine.processors);
        let chunks = self.layout.chunks as f64 / self.parts as f64;
        let warps = f64::from(self.tile().team());
        let computed = busiest as f64 * chunks * warps * self.chunk_cycles() / 4.0;
        let loaded = busiest as f64 * chunks * self.spec.chunk_bytes() as f64 / CACHE_BYTES;
        let rounds = busiest.div_ceil(self.resident()) as f64;
        computed.max(loaded).max(rounds * self.waiting_cycles()) / self.machine.gigahertz
    }
    /// Cycles of a quarter that a warp takes for a chunk.
    fn chunk_cycles(&self) -> f64 {
        let (columns, groups) = (f64::from(self.tile().columns), f64::from(self.tile().groups));
        let pieces = self.spec.block.map_or(1, |size| (CHUNK / padded_block(size as usize)).max(1)) as f64;
        let (w_bits, bytes) = (self.spec.w_bits, self.spec.lowering.takes_bytes());
        let products = if bytes { 8192.0 } else { f64::from(w_bits.div_ceil(2)) * self.spec.fragments() as f64 * 16384.0 };
        let multiplied = pieces * columns * groups * products * 4.0 / self.machine.rate(self.spec.lowering);
        let unpacked = if bytes { f64::from(w_bits.next_power_of_two().ilog2() as u8 * w_bits + 8) } else { 0.0 };
        let computed = INTEGER * columns * (unpacked + self.ends_per_chunk() * self.end_instructions());
        let rows = if self.spec.lowering.takes_groups() { 0.0 } else { groups * self.spec.group_bytes() as f64 };
        let shared = (columns * f64::from(w_bits) * 128.0 + rows) / SHARED_BYTES;
        let longest = multiplied.max(computed).max(shared);
        longest + HELD_UP * (multiplied + computed + shared - longest)
    }
    /// Scale blocks that end in a chunk.
    fn ends_per_chunk(&self) -> f64 {
        if self.spec.block.is_some() { self.layout.blocks as f64 / self.layout.chunks as f64 } else { 0.0 }
    }
    /// Instructions that end a scale block of eight columns.
    fn end_instructions(&self) -> f64 {
        let (results, sums) = (f64::from(self.tile().groups) * self.spec.slots() as f64, f64::from(self.spec.w_bits));
        let reduced = if self.spec.lowering.takes_bytes() { 0.0 } else { results * (2.0 * sums + 4.0) };
        8.0 + 4.0 * results + reduced
    }
    /// Cycles that a block takes when it only waits: for its first bytes, then once per round of stages, and for its other teams.
    fn waiting_cycles(&self) -> f64 {
        let teams = usize::from(self.tile().warps_k);
        let steps = self.layout.chunks.div_ceil(self.parts * teams * self.spec.depth()) as f64;
        let flying = f64::from(self.tile().stages) - 1.0;
        let barriers = if self.tile().team() > 1 { steps * BARRIER } else { 0.0 };
        let joined = if teams > 1 { BARRIER + 4.0 * (teams * self.spec.results()) as f64 } else { 0.0 };
        LATENCY * (1.0 + steps / flying) + barriers + joined
    }
    /// Blocks that a multiprocessor runs at once.
    fn resident(&self) -> usize {
        let threads = self.tile().threads();
        let shared = (self.arch.shared_bytes() + 1024) / (self.spec.shared_bytes() + 1024);
        let registers = (65536 / (threads * self.registers())).max(1);
        (self.machine.threads / threads).min(shared).min(registers).clamp(1, 32) as usize
    }
    /// Registers of a thread: sums or results, operands, and what the frame needs.
    fn registers(&self) -> u32 {
        let (columns, groups, w_bits) = (u32::from(self.tile().columns), u32::from(self.tile().groups), u32::from(self.spec.w_bits));
        let sums = match self.spec.lowering.takes_bytes() {
            true => columns / 2 * groups * 4,
            false => columns * groups * self.spec.fragments() as u32 * w_bits * 2,
        };
        let results = if self.spec.block.is_some() { self.spec.results() as u32 } else { 0 };
        (48 + sums + results + 2 * w_bits).next_multiple_of(8).min(255)
    }
    /// What the kernel takes that makes results of raw sums.
    fn finish_ns(&self) -> f64 {
        let parts = self.spec.raw_parts(self.layout, self.parts) as f64;
        let bytes = self.stored_bytes() + (self.m * self.layout.n * 4) as f64;
        LAUNCH_NS + bytes / (self.machine.bandwidth * REACHED) + LATENCY * (1.0 + parts / 8.0) / self.machine.gigahertz
    }
}
