//! Which kernel computes a product: by a cost model, or as a table of measurements says.
//!
//! The unit of cost is a cycle of the quarter of a multiprocessor that runs a warp, per chunk of eight columns. One `mma` of bits
//! takes 4, one of bytes (half of whose columns count here) 8; unpacking takes what its instructions do. Where memory is the bound,
//! which is always so for few rows and bits, the choice does not matter; where it is not, it follows the counts.

use super::arch::Arch;
use super::spec::{Activation, CHUNK, Ending, Layout, Lowering, MatmulSpec, Store, Tile, fragments};
use super::tuning::Tuning;
use crate::bit_product::BitProduct;
use std::fmt;

/// Multiprocessors that a grid should fill.
const PROCESSORS: usize = 108;
/// Warps that a multiprocessor should have, so that enough loads are under way.
const WARPS: usize = 16;
/// Integers of sums that a thread may hold.
const SUMS: usize = 64;
/// Rows up to which a product is one of few rows.
pub const FEW_ROWS: usize = 8;
/// Rows up to which warps work alone.
const MANY_ROWS: usize = 32;
/// Row counts, each the largest of a class that has one kernel; more rows are the last class.
pub const CLASSES: [usize; 6] = [1, 2, 4, 8, 32, usize::MAX];

/// Costs of both lowerings by `mma`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// By bits.
    pub binary: f32,
    /// By bytes.
    pub integer: f32,
}

impl Cost {
    /// Costs of a product of `m` rows.
    pub fn of(arch: Arch, product: &BitProduct, m: usize) -> Self {
        let (w_bits, tokens) = (product.w_bits, group(m));
        let groups = m.div_ceil(tokens.into()) as f32;
        let pairs = f32::from(w_bits.div_ceil(2)) * fragments(product.a_bits, tokens) as f32 * groups;
        let emulated = if arch.has_binary_mma() { 1.0 } else { 8.0 };
        let parts = product.block.map_or(1, |size| (CHUNK / super::spec::padded_block(size as usize)).max(1)) as f32;
        let unpack = 2.0 * f32::from(w_bits.next_power_of_two().ilog2() as u8 * w_bits + 8);
        Cost { binary: 4.0 * pairs * emulated * parts, integer: (16.0 * m.div_ceil(8) as f32) * parts + unpack }
    }
    /// The cheaper lowering.
    pub fn lowering(&self) -> Lowering {
        if self.binary <= self.integer { Lowering::Binary } else { Lowering::Integer }
    }
}

/// `binary (binary 8.0, integer 40.0 cycles per chunk)`
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (binary {:.1}, integer {:.1} cycles per chunk)", self.lowering().name(), self.binary, self.integer)
    }
}

/// The kernel for `m` rows, as the table says or else the cost model; it serves every count of rows of the class of `m`.
pub fn choose(arch: Arch, product: &BitProduct, (n, k): (usize, usize), m: usize, ending: Ending, tuning: &Tuning) -> MatmulSpec {
    let m = class(m);
    let layout = Layout::of(product, n, k);
    let measured = tuning.find(arch, product, (n, k), m).filter(|(lowering, tile)| fits(arch, product, *lowering, *tile));
    let (lowering, tile) = measured.unwrap_or_else(|| {
        let lowering = match Cost::of(arch, product, m.min(256)).lowering() {
            Lowering::Integer if arch.has_group_mma() && m > MANY_ROWS => Lowering::IntegerGroup,
            other => other,
        };
        (lowering, tile(arch, product, &layout, lowering, m))
    });
    MatmulSpec { product: *product, lowering, tile, store: Store::Scaled(ending) }
}

/// The largest count of rows that has the same kernel.
pub fn class(m: usize) -> usize {
    CLASSES.into_iter().find(|&most| m <= most).unwrap_or(usize::MAX)
}

/// Rows of a group for `m` rows.
fn group(m: usize) -> u8 {
    m.clamp(1, 8).next_power_of_two() as u8
}

/// How a lowering divides the work.
pub fn tile(arch: Arch, product: &BitProduct, layout: &Layout, lowering: Lowering, m: usize) -> Tile {
    let tile = match (lowering, m) {
        (Lowering::BinaryGroup, _) => Tile { tokens: group(m), groups: 1, columns: 1, warps_m: 1, warps_n: 4, warps_k: 1, stages: 4 },
        (Lowering::Binary, _) => {
            let tokens = group(m);
            let sums = 2 * product.w_bits as usize * fragments(product.a_bits, tokens);
            Tile { tokens, columns: columns(layout, SUMS / sums, product.w_bits), ..ONE_WARP }
        }
        (Lowering::IntegerGroup, _) => {
            let groups = match product.block {
                Some(_) => 4,
                None if product.w_zero || product.a_center => 8,
                None => 16,
            };
            Tile { tokens: 8, groups, columns: 4, warps_m: 1, warps_n: 8, warps_k: 1, stages: 4 }
        }
        (Lowering::Integer, ..=8) => Tile { tokens: 8, columns: 2, ..ONE_WARP },
        (Lowering::Integer, ..=32) => Tile { tokens: 8, groups: 4, columns: 2, warps_n: 4, stages: 4, ..ONE_WARP },
        (Lowering::Integer, _) => {
            let groups = if product.block.is_some() { 4 } else { 8 };
            Tile { tokens: 8, groups, columns: 4, warps_m: 2, warps_n: 4, warps_k: 1, stages: 3 }
        }
    };
    let tile = if tile.team() == 1 { share_k(product, layout, tile) } else { tile };
    shrink(arch, product, lowering, tile)
}

const ONE_WARP: Tile = Tile { tokens: 1, groups: 1, columns: 1, warps_m: 1, warps_n: 1, warps_k: 1, stages: 6 };

/// Fragments of columns of a warp: a power of two, as many as sums allow, while there are enough warps and at most 1 KiB arrives at once.
fn columns(layout: &Layout, most: usize, w_bits: u8) -> u8 {
    let enough = |columns: &usize| columns * (w_bits as usize) <= 8 && layout.columns() / columns * layout.chunks / 4 >= PROCESSORS * WARPS;
    [4, 2].into_iter().filter(|&columns| columns <= most).find(enough).unwrap_or(1) as u8
}

/// As many teams along k as fill the machine, each with at least two steps.
fn share_k(product: &BitProduct, layout: &Layout, tile: Tile) -> Tile {
    let warps = layout.columns().div_ceil(tile.columns.into());
    let blocks = product.block.map_or(layout.chunks, |_| layout.blocks.min(layout.chunks));
    let teams = (PROCESSORS * WARPS).div_ceil(warps.max(1)).clamp(1, 8).min((blocks / 2).max(1));
    Tile { warps_k: teams as u8, ..tile }
}

/// Fewer stages, until shared memory suffices.
fn shrink(arch: Arch, product: &BitProduct, lowering: Lowering, tile: Tile) -> Tile {
    let mut smaller = (2..=tile.stages).rev().map(|stages| Tile { stages, ..tile });
    smaller.find(|&tile| fits(arch, product, lowering, tile)).unwrap_or(Tile { stages: 2, ..tile })
}

/// Whether a kernel with this tile is possible.
pub fn fits(arch: Arch, product: &BitProduct, lowering: Lowering, tile: Tile) -> bool {
    let spec = MatmulSpec { product: *product, lowering, tile, store: Store::Raw };
    let has = match lowering {
        Lowering::Binary => arch.has_binary_mma(),
        Lowering::BinaryGroup | Lowering::IntegerGroup => arch.has_group_mma() && tile.warps_n.is_multiple_of(4),
        Lowering::Integer => true,
    };
    let shape = [tile.groups, tile.columns, tile.warps_m, tile.warps_n, tile.warps_k].iter().all(|&count| count > 0);
    let whole = [1, 2, 4, 8].contains(&tile.tokens) && tile.stages >= 2 && (tile.team() == 1 || tile.warps_k == 1);
    let bytes = !lowering.takes_bytes() || tile.tokens == 8 && tile.columns.is_multiple_of(2);
    has && bytes && shape && whole && tile.threads() <= 1024 && spec.shared_bytes() <= arch.shared_bytes()
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
