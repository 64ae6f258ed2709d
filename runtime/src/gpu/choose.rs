//! Which kernel computes a product: the cheapest by the cost model, or as a table of measurements says.

use super::arch::Arch;
use super::cost::estimate;
use super::spec::{Activation, Ending, FinishSpec, Layout, MatmulSpec, Store};
use super::tile::{SMALLEST, candidates};
use super::tuning::{Measured, Tuning};
use crate::bit_product::BitProduct;
use std::fmt;

pub use super::tile::{fits, possible, tile};

/// Blocks of threads that may share k.
pub const MOST_PARTS: usize = 64;
/// Row counts, each the largest of a class that has one kernel; more rows are the last class.
pub const CLASSES: [usize; 6] = [1, 2, 4, 8, 32, usize::MAX];

/// Who chose a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// It is the fastest of those measured.
    Measured,
    /// It is the cheapest by the cost model.
    CostModel,
}

/// `measured`, `cost model`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Origin::Measured { "measured" } else { "cost model" })
    }
}

/// The kernel of a product, and how it is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Choice {
    /// The kernel; with several parts it stores raw sums.
    pub spec: MatmulSpec,
    /// Blocks of threads that share k.
    pub parts: usize,
    /// What follows the sums.
    pub ending: Ending,
    /// Who chose it.
    pub origin: Origin,
}

impl Choice {
    /// A choice of a kernel for a product.
    pub fn new(product: &BitProduct, kernel: Measured, ending: Ending, origin: Origin) -> Self {
        let Measured { lowering, tile, parts } = kernel;
        let store = if parts == 1 { Store::Scaled(ending) } else { Store::Raw };
        Choice { spec: MatmulSpec { product: *product, lowering, tile, store }, parts, ending, origin }
    }
    /// The kernel as a table has it.
    pub fn kernel(&self) -> Measured {
        Measured { lowering: self.spec.lowering, tile: self.spec.tile, parts: self.parts }
    }
    /// The kernel that makes results of the sums of several parts.
    pub fn finish(&self) -> Option<FinishSpec> {
        (self.parts > 1).then_some(FinishSpec { product: self.spec.product, ending: self.ending })
    }
}

/// `binary w4a8s x1 per channel, 1x1 rows 1x8 columns 1x1x8 warps 4 stages, raw, 4 parts`
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.spec)?;
        if self.parts > 1 { write!(f, ", {} parts", self.parts) } else { Ok(()) }
    }
}

/// The kernel for `m` rows, as the table says or else the cost model; it serves every count of rows of the class of `m`.
pub fn choose(arch: Arch, product: &BitProduct, (n, k): (usize, usize), m: usize, ending: Ending, tuning: &Tuning) -> Choice {
    let m = class(m);
    match tuning.find(arch, product, (n, k), m) {
        Some(measured) => Choice::new(product, measured, ending, Origin::Measured),
        None => Choice::new(product, cheapest(arch, product, &Layout::of(product, n, k), m), ending, Origin::CostModel),
    }
}

/// The kernel that the cost model finds; of equally cheap ones the first.
fn cheapest(arch: Arch, product: &BitProduct, layout: &Layout, m: usize) -> Measured {
    let priced = |kernel: Measured| (estimate(arch, product, layout, m, &kernel), kernel);
    let others = candidates(arch, product, layout, m).into_iter().map(priced);
    others.fold(priced(SMALLEST), |best, next| if next.0 < best.0 { next } else { best }).1
}

/// The largest count of rows that has the same kernel.
pub fn class(m: usize) -> usize {
    CLASSES.into_iter().find(|&most| m <= most).unwrap_or(usize::MAX)
}

/// The ending that these steps are, as far as a kernel goes, and how many steps that is.
pub fn ending(steps: &[mokume_ir::op::Epilogue]) -> (Ending, usize) {
    use mokume_ir::op::Epilogue;
    let bias = steps.first() == Some(&Epilogue::Bias);
    let activation = steps.get(usize::from(bias)).and_then(|step| match step {
        Epilogue::Relu => Some(Activation::Relu),
        Epilogue::Silu => Some(Activation::Silu),
        Epilogue::HardSwish => Some(Activation::HardSwish),
        _ => None,
    });
    (Ending { bias, activation }, usize::from(bias) + usize::from(activation.is_some()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::gpu::spec::Lowering;

    /// Columns and elements along k of the products of a 7B model.
    const LLAMA: [(usize, usize); 3] = [(4096, 4096), (11008, 4096), (4096, 11008)];

    fn product(w_bits: u8, a_bits: u8, block: Option<u32>) -> BitProduct {
        BitProduct { w_zero: a_bits.is_multiple_of(2), ..BitProduct::signed(w_bits, a_bits, block) }
    }

    fn by_cost(arch: Arch, product: &BitProduct, size: (usize, usize), m: usize) -> Choice {
        choose(arch, product, size, m, Ending::default(), &Tuning::default())
    }

    #[test]
    fn every_choice_is_possible() {
        for arch in Arch::ALL {
            for (w, a) in (1..=8).flat_map(|w| (1..=8).map(move |a| (w, a))) {
                for (size, block) in [((4096, 11008), None), ((576, 1536), Some(64)), ((8, 10), Some(32)), ((32000, 288), Some(128))] {
                    for m in [1, 3, 8, 9, 512] {
                        let (product, layout) = (product(w, a, block), Layout::of(&product(w, a, block), size.0, size.1));
                        let choice = by_cost(arch, &product, size, m);
                        assert!(fits(arch, &product, choice.spec.lowering, choice.spec.tile), "{arch} {choice}");
                        let cost = estimate(arch, &product, &layout, m, &choice.kernel());
                        assert!(cost.is_finite() && cost > 0.0, "{arch} {choice}: {cost}");
                    }
                }
            }
        }
    }

    #[test]
    fn bits_are_multiplied_where_that_is_an_instruction_and_bytes_where_rows_are_many() {
        for size in LLAMA {
            for (w, block) in [(2, None), (4, None), (4, Some(128))] {
                let lowering = |arch, m| by_cost(arch, &product(w, 8, block), size, m).spec.lowering;
                assert_eq!(lowering(Arch::Sm80, 1), Lowering::Binary, "w{w} {size:?}");
                assert_eq!(lowering(Arch::Sm90a, 1), Lowering::Binary, "w{w} {size:?}");
                assert_eq!(lowering(Arch::Sm100, 1), Lowering::Integer, "w{w} {size:?}");
                assert_eq!(lowering(Arch::Sm120, 8), Lowering::Integer, "w{w} {size:?}");
                assert_eq!(lowering(Arch::Sm80, 512), Lowering::Integer, "w{w} {size:?}");
                assert_eq!(lowering(Arch::Sm90a, 512), Lowering::IntegerGroup, "w{w} {size:?}");
            }
        }
    }

    /// Where one block of threads per tile leaves multiprocessors idle, blocks share k; where results are many, they do not.
    #[test]
    fn few_columns_and_long_rows_are_split() {
        for arch in [Arch::Sm80, Arch::Sm90a, Arch::Sm100] {
            assert!(by_cost(arch, &product(4, 8, None), (256, 65536), 1).parts > 1, "{arch}");
            assert_eq!(by_cost(arch, &product(4, 8, None), (4096, 4096), 1).parts, 1, "{arch}");
            assert_eq!(by_cost(arch, &product(4, 8, None), (32000, 4096), 512).parts, 1, "{arch}");
        }
    }

    /// Where products of bits bound the time, groups of warps form twice as many.
    #[test]
    fn few_bits_of_many_rows_are_multiplied_by_groups_of_warps() {
        let chosen = |w, a, m| by_cost(Arch::Sm90a, &product(w, a, None), (11008, 4096), m).spec.lowering;
        assert_eq!(
            [(1, 1), (2, 2), (8, 8)].map(|(w, a)| chosen(w, a, 512)),
            [Lowering::BinaryGroup, Lowering::BinaryGroup, Lowering::IntegerGroup]
        );
        assert_eq!(chosen(1, 1, 1), Lowering::Binary);
    }

    #[test]
    fn a_measured_kernel_comes_first() {
        let product = product(4, 8, None);
        let tuning = Tuning::parse(&format!("sm_80 {} 64x128 1 integer 8 1 2 1 1 4 3 2", product.symbol())).unwrap();
        let choice = |n| choose(Arch::Sm80, &product, (n, 128), 1, Ending::default(), &tuning);
        assert_eq!((choice(64).spec.lowering, choice(64).spec.tile.stages, choice(64).parts), (Lowering::Integer, 3, 2));
        assert_eq!((choice(64).origin, choice(72).origin), (Origin::Measured, Origin::CostModel));
    }
}
