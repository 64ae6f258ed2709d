//! Which threads have synchronized with which: vector clocks of the warps of a block.
//!
//! A warp counts its own synchronizations. What a thread did in epoch `e` of its warp is known to another warp once a barrier
//! has told it that epoch, and to the other threads of its warp once they synchronized.

/// Threads of a warp.
pub(super) const WARP: usize = 32;

/// The clocks of one block.
pub(super) struct Clocks {
    epochs: Vec<u32>,
    /// Row `w`: the last epoch of every warp that warp `w` knows of.
    known: Vec<Vec<u32>>,
}

impl Clocks {
    pub(super) fn new(threads: usize) -> Self {
        let warps = threads.div_ceil(WARP);
        Clocks { epochs: vec![1; warps], known: vec![vec![0; warps]; warps] }
    }
    /// The epoch in which `thread` is.
    pub(super) fn epoch(&self, thread: usize) -> u32 {
        self.epochs[thread / WARP]
    }
    /// Whether what `other` did in `epoch` is done as `thread` sees it.
    pub(super) fn is_ordered(&self, thread: usize, other: usize, epoch: u32) -> bool {
        thread == other || epoch <= self.known[thread / WARP][other / WARP]
    }
    /// The threads of these warps have waited for each other.
    pub(super) fn synchronize(&mut self, warps: &[usize]) {
        let mut joint = vec![0; self.epochs.len()];
        for &warp in warps {
            joint.iter_mut().zip(&self.known[warp]).for_each(|(joint, &known)| *joint = (*joint).max(known));
        }
        for &warp in warps {
            joint[warp] = self.epochs[warp];
            self.epochs[warp] += 1;
        }
        warps.iter().for_each(|&warp| self.known[warp].clone_from(&joint));
    }
}
