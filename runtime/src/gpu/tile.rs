//! How kernels of products divide their work: what is possible, and what is worth a look.

use super::arch::Arch;
use super::choose::MOST_PARTS;
use super::spec::{Layout, Lowering, MatmulSpec, Store, Tile, fragments};
use super::tuning::Measured;
use crate::bit_product::BitProduct;

/// Multiprocessors that a grid should fill.
const PROCESSORS: usize = 108;
/// Warps that a multiprocessor should have, so that enough loads are under way.
const WARPS: usize = 16;
/// Integers of sums that a thread may hold.
const SUMS: usize = 64;
/// Rows up to which warps work alone.
const MANY_ROWS: usize = 32;

/// A kernel that every architecture has.
pub(super) const SMALLEST: Measured =
    Measured { lowering: Lowering::Integer, tile: Tile { tokens: 8, columns: 2, stages: 2, ..ONE_WARP }, parts: 1 };

/// Kernels that may be the fastest for up to `m` rows, in an order that depends on nothing else.
pub(super) fn candidates(arch: Arch, product: &BitProduct, layout: &Layout, m: usize) -> Vec<Measured> {
    let mut found = Vec::new();
    for lowering in Lowering::ALL {
        for tile in tiles(product, layout, lowering, m) {
            let tile = shrink(arch, product, lowering, tile);
            if fits(arch, product, lowering, tile) {
                found.extend(parts(layout, tile).map(|parts| Measured { lowering, tile, parts }));
            }
        }
    }
    found
}

/// Blocks along k, of which every team has at least two chunks.
fn parts(layout: &Layout, tile: Tile) -> impl Iterator<Item = usize> {
    let most = layout.chunks / (2 * usize::from(tile.warps_k));
    [1, 2, 4, 8, 16].into_iter().filter(move |&parts| parts == 1 || parts <= most.min(MOST_PARTS))
}

/// The usual tile of a lowering, and ones near it.
fn tiles(product: &BitProduct, layout: &Layout, lowering: Lowering, m: usize) -> Vec<Tile> {
    let base = usual(product, layout, lowering, m);
    let groups: Vec<u8> = [1, 2, 4, 8, 16].into_iter().filter(|&groups| groups_fit(lowering, base, groups, m)).collect();
    let (columns, warps): (&[u8], &[(u8, u8, u8)]) = match (lowering, m) {
        (Lowering::Binary, _) => (&[1, 2, 4], &[(1, 1, 1), (1, 1, 2), (1, 1, 4), (1, 1, 8)]),
        (Lowering::BinaryGroup, _) => (&[1, 2], &[(1, 4, 1), (1, 8, 1)]),
        (Lowering::Integer, ..=8) => (&[2, 4], &[(1, 1, 1), (1, 1, 2), (1, 1, 4), (1, 1, 8)]),
        (Lowering::Integer, ..=MANY_ROWS) => (&[2], &[(1, 4, 1), (1, 2, 1)]),
        (Lowering::Integer, _) => (&[2, 4], &[(1, 4, 1), (2, 2, 1), (2, 4, 1)]),
        (Lowering::IntegerGroup, _) => (&[2, 4], &[(1, 4, 1), (1, 8, 1)]),
    };
    let mut found = vec![base];
    for (&groups, &columns) in groups.iter().flat_map(|groups| columns.iter().map(move |columns| (groups, columns))) {
        if !sums_fit(product, lowering, base, (groups, columns)) {
            continue;
        }
        found.extend(warps.iter().map(|&(warps_m, warps_n, warps_k)| {
            let steps = layout.chunks / usize::from(warps_k) + 1;
            Tile { groups, columns, warps_m, warps_n, warps_k, stages: steps.clamp(2, base.stages.max(4).into()) as u8, ..base }
        }));
    }
    found
}

/// Whether so many groups of rows are no more than the usual ones, or than there are.
fn groups_fit(lowering: Lowering, base: Tile, groups: u8, m: usize) -> bool {
    match lowering {
        Lowering::Binary | Lowering::BinaryGroup => groups <= 4 && (groups == 1 || usize::from(groups) * 8 <= m),
        Lowering::Integer | Lowering::IntegerGroup => groups <= base.groups && (groups == base.groups || groups >= 4),
    }
}

/// Whether a thread can hold the sums of bits; what is usual of bytes can be held.
fn sums_fit(product: &BitProduct, lowering: Lowering, base: Tile, (groups, columns): (u8, u8)) -> bool {
    let sums = usize::from(groups) * usize::from(columns) * fragments(product.a_bits, base.tokens) * usize::from(product.w_bits) * 2;
    lowering.takes_bytes() || (sums <= SUMS && columns * product.w_bits <= 8)
}

/// Rows of a group for `m` rows.
fn group(m: usize) -> u8 {
    m.clamp(1, 8).next_power_of_two() as u8
}

/// How a lowering divides the work where nothing else is known.
pub fn tile(arch: Arch, product: &BitProduct, layout: &Layout, lowering: Lowering, m: usize) -> Tile {
    shrink(arch, product, lowering, usual(product, layout, lowering, m))
}

/// The tile from which others are varied.
fn usual(product: &BitProduct, layout: &Layout, lowering: Lowering, m: usize) -> Tile {
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
    if tile.team() == 1 { share_k(product, layout, tile) } else { tile }
}

const ONE_WARP: Tile = Tile { tokens: 1, groups: 1, columns: 1, warps_m: 1, warps_n: 1, warps_k: 1, stages: 6 };

/// Fragments of columns of a warp: a power of two, as many as sums allow, while there are enough warps and at most 1 KiB arrives at once.
fn columns(layout: &Layout, most: usize, w_bits: u8) -> u8 {
    let enough = |columns: &usize| columns * (w_bits as usize) <= 8 && layout.columns() / columns * layout.chunks / 4 >= PROCESSORS * WARPS;
    [4, 2].into_iter().filter(|&columns| columns <= most).find(enough).unwrap_or(1) as u8
}

/// As many teams along k as fill the machine, each with at least two steps: a power of two, so that their parts are more often equal; and
/// no more stages than a team has steps.
fn share_k(product: &BitProduct, layout: &Layout, tile: Tile) -> Tile {
    let warps = layout.columns().div_ceil(tile.columns.into());
    let blocks = product.block.map_or(layout.chunks, |_| layout.blocks.min(layout.chunks));
    let wanted = (PROCESSORS * WARPS).div_ceil(warps.max(1)).next_power_of_two();
    let possible = 1usize << (blocks / 2).max(1).ilog2();
    let teams = wanted.min(possible).clamp(1, 8);
    let steps = (layout.chunks / teams + 1).clamp(2, tile.stages.into());
    Tile { warps_k: teams as u8, stages: steps as u8, ..tile }
}

/// Fewer stages, until shared memory suffices.
fn shrink(arch: Arch, product: &BitProduct, lowering: Lowering, tile: Tile) -> Tile {
    let mut smaller = (2..=tile.stages).rev().map(|stages| Tile { stages, ..tile });
    smaller.find(|&tile| fits(arch, product, lowering, tile)).unwrap_or(Tile { stages: 2, ..tile })
}

/// Whether a kernel with this tile is possible.
pub fn fits(arch: Arch, product: &BitProduct, lowering: Lowering, tile: Tile) -> bool {
    possible(arch, product, lowering, tile).is_ok()
}

/// Whether a kernel with this tile is possible.
///
/// Errors  why not.
pub fn possible(arch: Arch, product: &BitProduct, lowering: Lowering, tile: Tile) -> Result<(), String> {
    let spec = MatmulSpec { product: *product, lowering, tile, store: Store::Raw };
    let Tile { tokens, groups, columns, warps_m, warps_n, warps_k, stages } = tile;
    let has = match lowering {
        Lowering::Binary => arch.has_binary_mma(),
        Lowering::BinaryGroup | Lowering::IntegerGroup => arch.has_group_mma(),
        Lowering::Integer => true,
    };
    let why = match spec.shared_bytes() {
        _ if !has => format!("{arch} has no {} products", lowering.name()),
        _ if [groups, columns, warps_m, warps_n, warps_k].contains(&0) => "a tile of nothing".into(),
        _ if ![1, 2, 4, 8].contains(&tokens) => format!("groups of {tokens} rows, not 1, 2, 4 or 8"),
        _ if lowering.takes_bytes() && tokens != 8 => format!("groups of {tokens} rows, not the 8 of {}", lowering.name()),
        _ if lowering.takes_bytes() && columns % 2 == 1 => "an odd number of fragments of columns".into(),
        _ if lowering.takes_groups() && warps_n % 4 != 0 => format!("{warps_n} warps along the columns, not a multiple of 4"),
        _ if tile.team() > 1 && warps_k > 1 => "teams along k of several warps".into(),
        _ if stages < 2 => format!("{stages} stages, not at least 2"),
        _ if tile.threads() > 1024 => format!("{} threads, not at most 1024", tile.threads()),
        bytes if bytes > arch.shared_bytes() => format!("{bytes} bytes of shared memory, of {} on {arch}", arch.shared_bytes()),
        _ => return Ok(()),
    };
    Err(why)
}
