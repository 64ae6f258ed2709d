//! Products of bit planes by groups of four warps: `wgmma` of bits, 256 elements at once.
//!
//! Every warp brings two planes of eight columns of its own as sixteen of the 64 rows, in registers, as for [`super::binary`]; the
//! activations of all four warps come from shared memory, where a fragment is what the machine calls a core matrix. Sums lie as
//! those of [`super::binary`] do.

use super::binary::load;
use super::frame::{Kernel, Stage};
use crate::gpu::build::Result;
use inkwell::values::{BasicValueEnum, IntValue, PointerValue};
use mokume_runtime::gpu::spec::FRAGMENT;

/// Fragments of activations that one product may take, most first.
const SIZES: [usize; 6] = [8, 6, 4, 3, 2, 1];

/// Adds the products of a chunk, or of two of which the second may not exist.
pub(super) fn step<'c>(
    kernel: &Kernel<'_, 'c>,
    (first, second): (&Stage<'c>, Option<(&Stage<'c>, IntValue<'c>)>),
    mask: Option<IntValue<'c>>,
    sums: &[IntValue<'c>],
) -> Result<Vec<IntValue<'c>>> {
    let (build, spec) = (kernel.build, kernel.spec);
    let (planes, fragments) = (spec.w_bits as usize, spec.tile.groups as usize * spec.fragments());
    let columns = spec.tile.columns as usize;
    let low = (0..columns * planes).map(|plane| masked(kernel, load(kernel, first.weights, plane)?, mask)).collect::<Result<Vec<_>>>()?;
    let high = match second {
        None => vec![build.i32(0); low.len()],
        Some((stage, exists)) => {
            let exists = build.select(exists, build.i32(-1), build.i32(0))?;
            (0..low.len()).map(|plane| build.and(load(kernel, stage.weights, plane)?, exists)).collect::<Result<Vec<_>>>()?
        }
    };
    let halves = if second.is_some() { spec.chunk_bytes() } else { 0 };
    let mut next = sums.to_vec();
    build.group_products(|| {
        for column in 0..columns {
            for pair in 0..planes.div_ceil(2) {
                let a = rows(kernel, (&low, &high), column * planes, 2 * pair);
                for (start, size) in pieces(fragments) {
                    let places = places(planes, (column * fragments + start, size), pair);
                    let descriptor = descriptor(kernel, first, start, halves)?;
                    product(kernel, &a, descriptor, &places, &mut next)?;
                }
            }
        }
        Ok(())
    })?;
    Ok(next)
}

fn masked<'c>(kernel: &Kernel<'_, 'c>, word: IntValue<'c>, mask: Option<IntValue<'c>>) -> Result<IntValue<'c>> {
    mask.map_or(Ok(word), |mask| kernel.build.and(word, mask))
}

/// The registers of A for two planes of a column, or for the last and nothing.
fn rows<'c>(kernel: &Kernel<'_, 'c>, (low, high): (&[IntValue<'c>], &[IntValue<'c>]), first: usize, plane: usize) -> [IntValue<'c>; 4] {
    let nothing = kernel.build.i32(0);
    let of = |half: &[IntValue<'c>], plane: usize| if plane < kernel.spec.w_bits as usize { half[first + plane] } else { nothing };
    [of(low, plane), of(low, plane + 1), of(high, plane), of(high, plane + 1)]
}

/// First fragment and number of fragments of every product.
fn pieces(fragments: usize) -> Vec<(usize, usize)> {
    let (mut start, mut pieces) = (0, Vec::new());
    while start < fragments {
        let size = SIZES.into_iter().find(|&size| size <= fragments - start).unwrap_or(1);
        pieces.push((start, size));
        start += size;
    }
    pieces
}

/// Where the accumulators of a product are among the sums; an odd last plane has no second half.
fn places(planes: usize, (start, size): (usize, usize), pair: usize) -> Vec<Option<usize>> {
    let place = |line: usize, i: usize| (2 * pair + i / 2 < planes).then_some(line * planes * 2 + pair * 4 + i);
    (start..start + size).flat_map(|line| (0..4).map(move |i| place(line, i))).collect()
}

fn product<'c>(
    kernel: &Kernel<'_, 'c>,
    a: &[IntValue<'c>; 4],
    descriptor: IntValue<'c>,
    places: &[Option<usize>],
    sums: &mut [IntValue<'c>],
) -> Result<()> {
    let mut operands: Vec<BasicValueEnum<'c>> = a.iter().map(|&word| word.into()).collect();
    operands.push(descriptor.into());
    operands.extend(places.iter().map(|place| BasicValueEnum::from(place.map_or(kernel.build.i32(0), |place| sums[place]))));
    let name = format!("wgmma.m64k256.and.popc.n{}", 2 * places.len());
    let results = kernel.build.symbol(&name, &operands, places.len())?;
    places.iter().zip(results).for_each(|(place, result)| {
        if let Some(place) = *place {
            sums[place] = result;
        }
    });
    Ok(())
}

fn descriptor<'c>(kernel: &Kernel<'_, 'c>, stage: &Stage<'c>, fragment: usize, halves: usize) -> Result<IntValue<'c>> {
    matrix(kernel, kernel.build.offset_by(stage.activations, fragment * FRAGMENT)?, halves, FRAGMENT)
}

/// The descriptor of a matrix in shared memory: where it begins, the distance of its halves along k, the distance of eight lines.
pub(super) fn matrix<'c>(kernel: &Kernel<'_, 'c>, start: PointerValue<'c>, halves: usize, eights: usize) -> Result<IntValue<'c>> {
    let build = kernel.build;
    let address = build.at.build_ptr_to_int(start, build.long(), "")?;
    let address = build.and(build.shr(address, 4)?, build.i64(0x3fff))?;
    let distances = (halves as i64 / 16) << 16 | (eights as i64 / 16) << 32;
    build.or(address, build.i64(distances))
}
