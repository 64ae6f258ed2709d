//! Batches: what is enqueued between two points is recorded and runs as one CUDA graph.
//!
//! A batch like an earlier one (a decode step like the one before) only changes the parameters of the graph that stands. Batches
//! are told apart by their number since the last synchronization, so a step that reads in between has a graph per part.

use super::driver::{Context, Result, check};
use crate::gpu::device::Address;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUstreamCaptureMode};

/// Bytes that a batch may bring along from the host.
const STAGING_BYTES: usize = 256 << 10;
/// Graphs that are kept.
const KEPT: usize = 16;

/// The batch that is being recorded, and the graphs of earlier ones.
pub(super) struct Batches {
    is_open: bool,
    /// Host memory that copies in the batch read from when it runs.
    staging: *mut u8,
    staged: usize,
    /// Number of the batch since the last synchronization.
    number: usize,
    graphs: Vec<sys::CUgraphExec>,
}

impl Batches {
    pub(super) fn new() -> Self {
        Batches { is_open: false, staging: std::ptr::null_mut(), staged: 0, number: 0, graphs: Vec::new() }
    }
    /// Begins to record; nothing when a batch is open.
    pub(super) fn begin(&mut self, context: &Context) -> Result<()> {
        if self.is_open {
            return Ok(());
        }
        // SAFETY: the stream is the context's, which is current.
        let begun = unsafe { result::stream::begin_capture(context.stream, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED) };
        check(begun, "beginning a graph")?;
        self.is_open = true;
        Ok(())
    }
    /// Enqueues what was recorded; nothing when no batch is open.
    pub(super) fn end(&mut self, context: &Context) -> Result<()> {
        if !std::mem::take(&mut self.is_open) {
            return Ok(());
        }
        // SAFETY: the stream records since `begin`.
        let graph = check(unsafe { result::stream::end_capture(context.stream) }, "ending a graph")?;
        let launched = self.launch(context, graph);
        // SAFETY: the graph is ours; what runs is made from it.
        check(unsafe { result::graph::destroy(graph) }, "ending a graph")?;
        launched
    }
    fn launch(&mut self, context: &Context, graph: sys::CUgraph) -> Result<()> {
        let number = self.number % KEPT;
        self.number += 1;
        let stands = self.graphs.get(number).is_some_and(|&stands| update(stands, graph));
        if !stands {
            self.make(number, graph)?;
        }
        // SAFETY: the graph was made in the context of the stream.
        check(unsafe { result::graph::launch(self.graphs[number], context.stream) }, "running a graph")
    }
    fn make(&mut self, number: usize, graph: sys::CUgraph) -> Result<()> {
        // SAFETY: the graph was just recorded.
        let made = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) };
        let made = check(made, "making a graph")?;
        match self.graphs.get_mut(number) {
            None => self.graphs.push(made),
            Some(old) => {
                // SAFETY: the driver keeps a graph that still runs.
                check(unsafe { result::graph::exec_destroy(std::mem::replace(old, made)) }, "ending a graph")?;
            }
        }
        Ok(())
    }
    /// Everything enqueued is done: batches count from the beginning, and bytes they brought along are free.
    pub(super) fn synchronized(&mut self) {
        (self.number, self.staged) = (0, 0);
    }
    /// Copies bytes to the device as part of the open batch; false when there is none or they do not fit.
    pub(super) fn write(&mut self, context: &Context, to: Address, bytes: &[u8]) -> Result<bool> {
        if !self.is_open || self.staged + bytes.len() > STAGING_BYTES {
            return Ok(false);
        }
        if self.staging.is_null() {
            // SAFETY: the context is current; the memory is freed with this value.
            self.staging = check(unsafe { result::malloc_host(STAGING_BYTES, 0) }, "allocating host memory")?.cast();
        }
        // SAFETY: so many bytes are left after `staged`, and no copy that still runs reads them.
        let staged = unsafe { std::slice::from_raw_parts_mut(self.staging.add(self.staged), bytes.len()) };
        staged.copy_from_slice(bytes);
        self.staged += bytes.len().next_multiple_of(16);
        // SAFETY: the staging memory lives until the graph has run.
        check(unsafe { result::memcpy_htod_async(to, staged, context.stream) }, "copying to the device")?;
        Ok(true)
    }
    /// Frees everything; nothing runs, and the context is current.
    pub(super) fn free(&mut self) {
        // SAFETY: nobody uses graphs and memory any more. Errors have nobody left to go to.
        unsafe {
            for graph in self.graphs.drain(..) {
                let _ = result::graph::exec_destroy(graph);
            }
            if !self.staging.is_null() {
                let _ = result::free_host(std::mem::replace(&mut self.staging, std::ptr::null_mut()).cast());
            }
        }
    }
}

/// Gives a graph the parameters of another; false when they differ in more.
fn update(stands: sys::CUgraphExec, graph: sys::CUgraph) -> bool {
    let nodes = (std::ptr::null_mut(), std::ptr::null_mut());
    let result = sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_SUCCESS;
    let mut info = sys::CUgraphExecUpdateResultInfo { result, errorNode: nodes.0, errorFromNode: nodes.1 };
    // SAFETY: both graphs are ours, and the outcome goes to our variable.
    unsafe { sys::cuGraphExecUpdate_v2(stands, graph, &mut info) }.result().is_ok()
}
