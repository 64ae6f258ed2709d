//! Runs device kernels on the host: the very LLVM module that becomes PTX, bit for bit, and with every mistake named that the
//! hardware would let pass or answer with a crash.
//!
//! - Every access is looked up: bounds, alignment, reads of what nobody wrote.
//! - Threads are coroutines; operations of a warp and barriers need everyone they name.
//! - Shared memory knows who used each byte in which epoch, so a missing barrier shows whatever the order of threads.
//! - Asynchronous copies happen as late as their wait allows, and their destination is not to be touched before.
//!
//! Integer operations are exact. Approximate functions of f32 give the value rounded once; a device is up to 2 units in the last place
//! off. Float matrix products are summed in f64 and rounded once. Blocks run one after the other, in order, so results are the
//! same every time; races between blocks do not show.

mod access;
mod arrays;
mod block;
mod clock;
mod copy;
mod device;
mod fault;
mod global;
mod image;
mod mma;
mod op;
mod record;
mod rewrite;
mod schedule;
mod shared;
mod thread_op;
mod warp;
mod wgmma;

pub use fault::{Fault, FaultKind};

use crate::error::CodegenError;
use block::{Block, Thread};
use clock::Clocks;
use fault::Stop;
use global::Global;
use image::{Image, Kernel};
use inkwell::module::Module;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::device::Launch;
use record::Recorder;
use schedule::{Fail, Stacks};
use shared::Shared;
use std::collections::BTreeMap;
use std::path::Path;

/// The most threads of a block.
const MAX_THREADS: u32 = 1024;
/// The most bytes of shared memory of a block: what sm_90 has.
const MAX_SHARED: u64 = 227 << 10;

/// A device that the host plays.
#[derive(Default)]
pub struct Emulator {
    images: Vec<Image>,
    /// Image and kernel, by name.
    kernels: BTreeMap<String, (usize, Kernel)>,
    global: Global,
    stacks: Stacks,
    recorder: Option<Recorder>,
    marks: Vec<std::time::Instant>,
}

impl Emulator {
    /// A device with the kernels of `module`.
    ///
    /// Errors  when a kernel uses an operation that the emulator does not know, or LLVM refuses the module.
    pub fn new(module: &Module<'_>) -> Result<Self, CodegenError> {
        let mut emulator = Emulator::default();
        emulator.load(module)?;
        Ok(emulator)
    }
    /// Adds the kernels of `module`; a kernel replaces one of the same name.
    ///
    /// Errors  as [`Emulator::new`].
    pub fn load(&mut self, module: &Module<'_>) -> Result<(), CodegenError> {
        let image = Image::new(module)?;
        let index = self.images.len();
        self.kernels.extend(image.kernels.iter().map(|(name, kernel)| (name.clone(), (index, kernel.clone()))));
        self.images.push(image);
        Ok(())
    }
    /// Whether there is a kernel called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.kernels.contains_key(name)
    }
    /// Memory of `bytes` that nobody wrote.
    pub fn alloc(&mut self, bytes: usize) -> u64 {
        self.global.alloc(bytes)
    }
    /// Memory that holds `bytes`.
    pub fn upload(&mut self, bytes: &[u8]) -> Result<u64, Fault> {
        let address = self.alloc(bytes.len());
        self.write(address, bytes)?;
        Ok(address)
    }
    /// Ends an allocation; using it later is a fault.
    pub fn free(&mut self, address: u64) -> Result<(), Fault> {
        self.global.free(address).map_err(by_host)
    }
    /// Copies from the host.
    pub fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.global.write(to, bytes).map_err(by_host)
    }
    /// Copies to the host, also what nobody wrote.
    pub fn read(&mut self, from: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.global.read(from, bytes).map_err(by_host)
    }
    /// Records launches from now on as files in `folder`, of every kernel at most `most`, with its PTX for these architectures: with them a
    /// device is checked where no compiler is.
    pub fn record(&mut self, folder: &Path, archs: &[Arch], most: usize) {
        self.recorder = Some(Recorder::new(folder.to_path_buf(), archs, most));
    }
    /// Runs a kernel to its end.
    ///
    /// Errors  with the first mistake of the kernel, or of the launch; when a launch cannot be recorded.
    pub fn launch(&mut self, launch: &Launch<'_>) -> Result<(), Fault> {
        let snapshot = self.recorder.as_ref().map(|recorder| recorder.before(&mut self.global, launch));
        self.run(launch)?;
        match (&self.recorder, snapshot, self.kernels.get(launch.kernel)) {
            (Some(recorder), Some(snapshot), Some((image, _))) => {
                let ptx = |arch| self.images[*image].ptx(arch).map_err(std::io::Error::other);
                let written = recorder.write(&mut self.global, launch, &snapshot, ptx);
                written.map_err(|error| by_host(Stop::new(FaultKind::Launch, format!("recording `{}`: {error}", launch.kernel))))
            }
            _ => Ok(()),
        }
    }
    fn run(&mut self, launch: &Launch<'_>) -> Result<(), Fault> {
        let refused = |stop: Stop| Fault { kernel: launch.kernel.to_string(), ..by_host(stop) };
        let found = self.kernels.get(launch.kernel);
        let (image, kernel) = found.ok_or_else(|| refused(Stop::new(FaultKind::Launch, "there is no such kernel")))?;
        check(launch, kernel).map_err(refused)?;
        let threads = launch.block.iter().product::<u32>() as usize;
        self.stacks.grow(if kernel.is_collective { threads } else { 1 }).map_err(refused)?;
        let image = &self.images[*image];
        let mut shared = Shared::new(kernel.arrays.with(launch.shared_bytes));
        for index in blocks(launch.grid) {
            shared.clear();
            let mut block = Block {
                global: &mut self.global,
                shared,
                clocks: Clocks::new(threads),
                threads: (0..threads).map(|_| Thread::new()).collect(),
                current: 0,
                grid: launch.grid,
                size: launch.block,
                index,
                ops: &image.ops,
                data: &image.data,
                stop: None,
            };
            let run = if kernel.is_collective { schedule::run_together } else { schedule::run_alone };
            run(&mut block, kernel.entry, launch.args, &mut self.stacks).map_err(|fail| located(launch, image, &block, fail))?;
            shared = block.shared;
        }
        Ok(())
    }
}

fn check(launch: &Launch<'_>, kernel: &Kernel) -> Result<(), Stop> {
    let refuse = |detail: String| Err(Stop::new(FaultKind::Launch, detail));
    if launch.args.len() != kernel.params {
        return refuse(format!("{} arguments instead of {}", launch.args.len(), kernel.params));
    }
    if launch.grid.contains(&0) || launch.grid[1].max(launch.grid[2]) > 65535 {
        return refuse(format!("a grid of {:?} blocks", launch.grid));
    }
    let threads = launch.block.iter().map(|&size| u64::from(size)).product::<u64>();
    let most = kernel.max_threads.unwrap_or(MAX_THREADS);
    if threads == 0 || threads > most.into() {
        return refuse(format!("{threads} threads a block, of at most {most}"));
    }
    let shared = kernel.arrays.fixed.iter().map(|array| array.bytes).sum::<u64>() + u64::from(launch.shared_bytes);
    if shared > MAX_SHARED {
        return refuse(format!("{shared} bytes of shared memory, of at most {MAX_SHARED}"));
    }
    Ok(())
}

/// The blocks of a grid, x fastest.
fn blocks([x, y, z]: [u32; 3]) -> impl Iterator<Item = [u32; 3]> {
    (0..z).flat_map(move |z| (0..y).flat_map(move |y| (0..x).map(move |x| [x, y, z])))
}

fn located(launch: &Launch<'_>, image: &Image, block: &Block<'_>, (stop, thread, site): Fail) -> Fault {
    Fault {
        kernel: launch.kernel.to_string(),
        block: block.index,
        thread: block.coordinates(thread),
        instruction: image.instruction(site),
        ..by_host(stop)
    }
}

fn by_host(stop: Stop) -> Fault {
    Fault {
        kind: stop.kind,
        kernel: String::new(),
        block: [0; 3],
        thread: [0; 3],
        address: stop.address,
        instruction: String::new(),
        detail: stop.detail,
    }
}
