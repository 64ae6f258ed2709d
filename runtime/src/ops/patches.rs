//! Patches of convolutions as matrices, a bounded range of windows at a time.

use super::window::{Windows, advance, unflatten};
use crate::tensor::Dims;
use std::ops::Range;

/// Writes the patches of windows `range` as columns: `out [channels * taps, range]`, `pad` outside the plane.
/// Rows are in the order channel, then kernel axes; `x` is `[channels, plane]`.
pub fn gather<T: Copy>(x: &[T], windows: &Windows, range: Range<usize>, pad: T, out: &mut [T]) {
    let width = range.len();
    if width == 0 {
        return;
    }
    let runs = runs(windows, range);
    let mut lines = Vec::with_capacity(windows.taps() * runs.len());
    each_tap(windows, |tap| lines.extend(runs.iter().map(|run| line(windows, tap, run))));
    let mut rows = out.chunks_exact_mut(width);
    for x in x.chunks_exact(windows.plane().max(1)) {
        for (lines, row) in lines.chunks(runs.len()).zip(&mut rows) {
            let parts = runs.iter().zip(lines);
            parts.for_each(|(run, line)| gather_line(x, line, pad, &mut row[run.at..run.at + run.len]));
        }
    }
}

/// Adds patches onto the plane they came from, the transpose of [`gather`]: `columns [taps, all windows]`, `plane` of one channel.
pub fn scatter_add<T: Copy + std::ops::AddAssign>(columns: &[T], windows: &Windows, plane: &mut [T]) {
    let width = windows.count();
    if width == 0 {
        return;
    }
    let runs = runs(windows, 0..width);
    let mut rows = columns.chunks_exact(width);
    each_tap(windows, |tap| {
        if let Some(row) = rows.next() {
            runs.iter().for_each(|run| scatter_run(&row[run.at..run.at + run.len], windows, tap, run, plane));
        }
    });
}

/// Neighboring windows along the last axis.
struct Run {
    /// Index of the first window.
    first: Dims,
    /// How many.
    len: usize,
    /// Column of the first.
    at: usize,
}

fn runs(windows: &Windows, range: Range<usize>) -> Vec<Run> {
    let line = windows.output.last().copied().unwrap_or(1);
    let mut runs = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let len = (line - start % line).min(range.end - start);
        runs.push(Run { first: unflatten(start, &windows.output), len, at: start - range.start });
        start += len;
    }
    runs
}

fn each_tap(windows: &Windows, mut visit: impl FnMut(&[usize])) {
    let mut tap = Dims::from_elem(0, windows.rank());
    loop {
        visit(&tap);
        if !advance(&mut tap, &windows.kernel) {
            return;
        }
    }
}

/// Where a tap of a run lies in a plane.
struct Line {
    /// The windows of the run that fall inside; none when the whole line is padding.
    inside: Range<usize>,
    /// Position of the first of them.
    start: usize,
    step: usize,
}

fn line(windows: &Windows, tap: &[usize], run: &Run) -> Line {
    let Some(last) = windows.rank().checked_sub(1) else { return Line { inside: 0..run.len, start: 0, step: 1 } };
    let mut start = 0;
    for (axis, &tap) in tap[..last].iter().enumerate() {
        let at = windows.position(axis, run.first[axis], tap);
        if at < 0 || at >= windows.input[axis] as isize {
            return Line { inside: 0..0, start: 0, step: 1 };
        }
        start = (start + at as usize) * windows.input[axis + 1];
    }
    let (first, step) = (windows.position(last, run.first[last], tap[last]), windows.strides[last]);
    let steps_to = |position: isize| (position - first).max(0).unsigned_abs().div_ceil(step).min(run.len);
    let inside = steps_to(0)..steps_to(windows.input[last] as isize);
    let start = start.saturating_add_signed(first + (inside.start * step) as isize);
    Line { inside, start, step }
}

fn gather_line<T: Copy>(x: &[T], line: &Line, pad: T, out: &mut [T]) {
    if line.inside.is_empty() {
        return out.fill(pad);
    }
    out[..line.inside.start].fill(pad);
    out[line.inside.end..].fill(pad);
    let from = &x[line.start..];
    let to = &mut out[line.inside.clone()];
    match line.step {
        1 => to.copy_from_slice(&from[..to.len()]),
        step => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
    }
}

fn scatter_run<T: Copy + std::ops::AddAssign>(row: &[T], windows: &Windows, tap: &[usize], run: &Run, plane: &mut [T]) {
    let line = line(windows, tap, run);
    if line.inside.is_empty() {
        return;
    }
    let to = plane[line.start..].iter_mut().step_by(line.step);
    to.zip(&row[line.inside]).for_each(|(to, from)| *to += *from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::window::Described;
    use mokume_ir::op::AutoPad;

    fn windows() -> Windows {
        let described = Described { strides: &[2, 1], dilations: &[1, 2], pads: &[1, 2, 0, 1], auto_pad: AutoPad::Explicit, ceil: false };
        Windows::new(&[4, 5], &[2, 3], &described).unwrap()
    }

    #[test]
    fn patches_equal_indexing() {
        let w = windows();
        let x: Vec<i32> = (1..=40).collect();
        let range = 1..w.count() - 1;
        let mut out = vec![0; 2 * w.taps() * range.len()];
        gather(&x, &w, range.clone(), -1, &mut out);
        for (i, got) in out.iter().enumerate() {
            let (row, column) = (i / range.len(), i % range.len());
            let (at, tap) = (unflatten(column + range.start, &w.output), unflatten(row % w.taps(), &w.kernel));
            let (y, z) = (w.position(0, at[0], tap[0]), w.position(1, at[1], tap[1]));
            let inside = (0..4).contains(&y) && (0..5).contains(&z);
            let want = if inside { x[row / w.taps() * 20 + (y * 5 + z) as usize] } else { -1 };
            assert_eq!(*got, want, "row {row} column {column}");
        }
    }

    #[test]
    fn scatter_is_the_transpose_of_gather() {
        let w = windows();
        let x: Vec<i64> = (0..20).map(|i| i * i - 7).collect();
        let mut columns = vec![0; w.taps() * w.count()];
        gather(&x, &w, 0..w.count(), 0, &mut columns);
        let probe: Vec<i64> = (0..columns.len() as i64).map(|i| i % 11 - 5).collect();
        let mut plane = vec![0; 20];
        scatter_add(&probe, &w, &mut plane);
        let dot = |a: &[i64], b: &[i64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<i64>();
        assert_eq!(dot(&probe, &columns), dot(&plane, &x));
    }
}
