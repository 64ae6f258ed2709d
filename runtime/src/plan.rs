//! Memory plans: where the intermediate results of a run lie in one slab.
//!
//! The first run with given input sizes takes memory from the heap and records the life of every block. From that comes a
//! plan: an offset for every allocation, by its number in the run. Later runs with these sizes follow it: an allocation
//! takes its place in the slab when it fits and is free, and heap memory otherwise. What outlives the run (outputs, state)
//! is never planned. A run that missed its plan, as when state grew, is recorded again, with room to spare.

use crate::memory::{ALIGN, Buffer, Ledger, Life, Slab};
use crate::tensor::{Dims, Tensor, elem_bytes};
use mokume_ir::types::Elem;
use std::cell::Cell;
use std::sync::Arc;

/// Plans kept; the least recently used is forgotten.
const MAX_PLANS: usize = 8;
/// The largest blocks of a run are planned, at most this many; the rest is left to the heap.
const MAX_PLANNED: usize = 2048;

/// Sizes of the inputs of a run, large ones rounded up: a text that grows by a token keeps its plan.
pub(crate) type Signature = Vec<Dims>;

/// Sizes up to this are not rounded.
const SMALL: usize = 16;

/// The signature of a run with these inputs.
pub(crate) fn signature(inputs: &[Tensor]) -> Signature {
    let rounded = |&size: &usize| if size <= SMALL { size } else { size.next_multiple_of(size.next_power_of_two() / 8) };
    inputs.iter().map(|tensor| tensor.dims().iter().map(rounded).collect()).collect()
}

/// Makes and keeps plans, and the slab they share.
#[derive(Default)]
pub(crate) struct Planner {
    /// Most recently used last. A missing plan is to be recorded again, with spare room.
    plans: Vec<(Signature, Option<Arc<Plan>>)>,
    slab: Option<Arc<Slab>>,
    peak_bytes: usize,
}

/// Memory of one run.
pub(crate) enum Memory {
    /// From the heap, recorded.
    Recorded(Arc<Ledger>),
    /// As planned.
    Planned {
        plan: Arc<Plan>,
        slab: Arc<Slab>,
        /// Number of the next allocation.
        next: Cell<usize>,
        /// Bytes that should have had a place and did not.
        missed: Cell<usize>,
        heap: Cell<usize>,
    },
}

impl Planner {
    /// Memory for a run with these input sizes.
    pub(crate) fn begin(&mut self, signature: &Signature) -> Memory {
        match self.find(signature) {
            Some(Some(plan)) => {
                let slab = self.slab_of(plan.bytes);
                Memory::Planned { plan, slab, next: Cell::new(0), missed: Cell::new(0), heap: Cell::new(0) }
            }
            _ => Memory::Recorded(Arc::default()),
        }
    }
    /// Learns from a run whose intermediate results are dropped by now.
    pub(crate) fn end(&mut self, signature: &Signature, memory: Memory) {
        match memory {
            Memory::Recorded(ledger) => {
                let again = self.find(signature).is_some();
                let plan = Plan::of(&ledger.lives(), again);
                self.peak_bytes = ledger.peak_bytes();
                self.store(signature, Some(Arc::new(plan)));
            }
            Memory::Planned { plan, missed, heap, .. } => {
                self.peak_bytes = plan.bytes + heap.get();
                if missed.get() > plan.bytes / 8 {
                    self.store(signature, None);
                }
            }
        }
    }
    /// Bytes that the last run took beside constants and arguments.
    pub(crate) fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }
    /// The plan of these sizes, if they were seen; it becomes the most recently used.
    fn find(&mut self, signature: &Signature) -> Option<Option<Arc<Plan>>> {
        let at = self.plans.iter().position(|(key, _)| key == signature)?;
        self.plans[at..].rotate_left(1);
        self.plans.last().map(|(_, plan)| plan.clone())
    }
    fn store(&mut self, signature: &Signature, plan: Option<Arc<Plan>>) {
        self.plans.retain(|(key, _)| key != signature);
        if self.plans.len() == MAX_PLANS {
            self.plans.remove(0);
        }
        self.plans.push((signature.clone(), plan));
    }
    /// A slab of at least `bytes`, the one of the runs before when it is large enough.
    fn slab_of(&mut self, bytes: usize) -> Arc<Slab> {
        match &self.slab {
            Some(slab) if slab.len() >= bytes => slab.clone(),
            _ => self.slab.insert(Slab::new(bytes)).clone(),
        }
    }
}

impl Memory {
    /// A tensor of unspecified contents.
    pub(crate) fn alloc(&self, dims: &[usize], elem: Elem) -> Tensor {
        let mut buffer = self.buffer(dims.iter().product::<usize>() * elem_bytes(elem));
        if cfg!(debug_assertions) {
            buffer.bytes_mut().fill(0xff);
        }
        Tensor::in_buffer(dims, elem, Arc::new(buffer))
    }
    fn buffer(&self, bytes: usize) -> Buffer {
        match self {
            Memory::Recorded(ledger) => ledger.heap(bytes),
            Memory::Planned { plan, slab, next, missed, heap } => {
                let place = plan.places.get(next.replace(next.get() + 1));
                let part = place.and_then(|place| place.as_ref()).filter(|place| bytes <= place.bytes);
                if let Some(part) = part.and_then(|place| slab.lend(place.offset, bytes)) {
                    return part;
                }
                let is_miss = !matches!(place, Some(None));
                missed.set(missed.get() + if is_miss { bytes } else { 0 });
                heap.set(heap.get() + bytes);
                Buffer::zeroed(bytes)
            }
        }
    }
}

/// Where every allocation of a run lies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// By number of the allocation; none: on the heap.
    places: Vec<Option<Place>>,
    /// Size of the slab.
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: usize,
    bytes: usize,
}

/// A block while it is planned: alive from its own allocation until before `end`.
struct Block {
    number: usize,
    end: usize,
    place: Place,
}

impl Plan {
    /// Large blocks first, each in the smallest gap that fits among those that live at the same time.
    fn of(lives: &[Life], spare: bool) -> Self {
        let mut blocks: Vec<Block> = lives.iter().enumerate().filter_map(|(number, life)| block(number, life, spare)).collect();
        blocks.sort_by_key(|block| (std::cmp::Reverse(block.place.bytes), block.number));
        blocks.truncate(MAX_PLANNED);
        let mut plan = Plan { places: vec![None; lives.len()], bytes: 0 };
        // Sorted by offset.
        let mut placed: Vec<Block> = Vec::with_capacity(blocks.len());
        for mut block in blocks {
            block.place.offset = best_fit(&placed, &block);
            plan.places[block.number] = Some(block.place);
            plan.bytes = plan.bytes.max(block.place.offset + block.place.bytes);
            let at = placed.partition_point(|other| other.place.offset <= block.place.offset);
            placed.insert(at, block);
        }
        plan
    }
}

/// None for what outlives the run.
fn block(number: usize, life: &Life, spare: bool) -> Option<Block> {
    let room = if spare { life.bytes + life.bytes / 4 } else { life.bytes };
    let place = Place { offset: 0, bytes: room.next_multiple_of(ALIGN) };
    Some(Block { number, end: life.end?, place }).filter(|_| life.bytes > 0)
}

fn best_fit(placed: &[Block], block: &Block) -> usize {
    let together = placed.iter().filter(|other| other.number < block.end && block.number < other.end);
    let (mut best, mut end) = (None, 0);
    for other in together {
        let gap = other.place.offset.saturating_sub(end);
        if gap >= block.place.bytes && best.is_none_or(|(size, _)| gap < size) {
            best = Some((gap, end));
        }
        end = end.max(other.place.offset + other.place.bytes);
    }
    best.map_or(end, |(_, offset)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lives() -> impl Strategy<Value = Vec<Life>> {
        let life = (0usize..5000, proptest::option::weighted(0.9, 1usize..20));
        proptest::collection::vec(life, 0..120).prop_map(|lives| {
            let life =
                |(number, (bytes, length)): (usize, (usize, Option<usize>))| Life { bytes, end: length.map(|length| number + length) };
            lives.into_iter().enumerate().map(life).collect()
        })
    }

    proptest! {
        #[test]
        fn blocks_that_live_together_do_not_overlap(lives in lives(), spare: bool) {
            let plan = Plan::of(&lives, spare);
            for (a, place_a) in plan.places.iter().enumerate() {
                let Some(place_a) = place_a else { continue };
                prop_assert!(place_a.bytes >= lives[a].bytes && place_a.offset % ALIGN == 0);
                prop_assert!(place_a.offset + place_a.bytes <= plan.bytes);
                for (b, place_b) in plan.places.iter().enumerate().skip(a + 1) {
                    let Some(place_b) = place_b else { continue };
                    let together = b < lives[a].end.unwrap();
                    let apart = place_a.offset + place_a.bytes <= place_b.offset || place_b.offset + place_b.bytes <= place_a.offset;
                    prop_assert!(!together || apart);
                }
            }
        }

        #[test]
        fn a_planned_run_hands_out_disjoint_memory_whatever_it_does(planned in lives(), actual in lives()) {
            let mut planner = Planner::default();
            let signature = vec![Dims::from_slice(&[3])];
            planner.store(&signature, Some(Arc::new(Plan::of(&planned, false))));
            let memory = planner.begin(&signature);
            let mut alive: Vec<(usize, Tensor)> = vec![];
            for (number, life) in actual.iter().enumerate() {
                alive.retain(|(end, _)| *end > number);
                let mut tensor = memory.alloc(&[life.bytes], Elem::U8);
                tensor.bytes_mut().fill(number as u8);
                alive.push((life.end.unwrap_or(usize::MAX), tensor));
                for (_, tensor) in &alive {
                    let first = tensor.bytes().first().copied();
                    prop_assert!(tensor.bytes().iter().all(|byte| Some(*byte) == first));
                }
            }
        }
    }

    #[test]
    fn the_second_run_takes_the_slab_and_growth_is_planned_again() {
        let mut planner = Planner::default();
        let signature = vec![Dims::from_slice(&[1])];
        let run = |planner: &mut Planner, bytes: usize| {
            let memory = planner.begin(&signature);
            let parts = (0..10).map(|_| usize::from(memory.buffer(bytes).is_part())).sum::<usize>();
            planner.end(&signature, memory);
            parts
        };
        assert_eq!(run(&mut planner, 100), 0);
        assert_eq!(run(&mut planner, 100), 10);
        assert_eq!(planner.peak_bytes(), 128);
        assert_eq!(run(&mut planner, 1000), 0);
        assert_eq!(run(&mut planner, 1000), 0);
        assert_eq!(run(&mut planner, 1010), 10);
    }

    #[test]
    fn few_plans_are_kept() {
        let mut planner = Planner::default();
        for size in 0..20 {
            let signature = vec![Dims::from_slice(&[size])];
            let memory = planner.begin(&signature);
            planner.end(&signature, memory);
        }
        assert_eq!(planner.plans.len(), MAX_PLANS);
    }
}
