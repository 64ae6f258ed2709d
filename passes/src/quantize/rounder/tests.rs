//! What holds for every rounder, on inputs that are correlated as those of real layers are.

use super::problem::{Aim, Choice, Problem};
use super::*;
use mokume_ir::quant::Levels;

/// Numbers in `-1 .. 1` that look random and are the same in every run.
pub(super) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    (0..len).map(next).collect()
}

/// Tokens `[tokens, k]` whose inputs share a few causes, with a mean and with inputs of very different size.
pub(super) fn inputs(seed: u64, tokens: usize, k: usize) -> Vec<f32> {
    let causes = 4;
    let (mix, hidden, own) = (noise(1, causes * k), noise(seed, tokens * causes), noise(seed + 1, tokens * k));
    let at = |t: usize, i: usize| {
        let shared: f32 = (0..causes).map(|c| hidden[t * causes + c] * mix[c * k + i]).sum();
        (shared + 0.3 * own[t * k + i] + 0.1) * if i % 17 == 3 { 6.0 } else { 1.0 }
    };
    (0..tokens * k).map(|at_| at(at_ / k, at_ % k)).collect()
}

pub(super) fn moments(seed: u64, tokens: usize, k: usize) -> Moments {
    let mut moments = Moments::new(k, false);
    moments.add(&inputs(seed, tokens, k), None).expect("sizes agree");
    moments
}

pub(super) fn format(bits: u8, levels: Levels, group: usize) -> Format {
    Format { rounding: Rounding { bits, levels, search: true, half_scales: true }, group }
}

/// `Σ|Ŵx + b - Wy|² / Σ|Wy|²`, token by token.
fn direct(weight: &Weight<'_>, rounded: &Rounded, format: &Format, x: &[f32], y: &[f32]) -> f64 {
    let found = rounded.decode(weight.cols, format);
    let times = |row: &[f32], x: &[f32]| row.iter().zip(x).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let (mut error, mut energy) = (0.0, 0.0);
    for (x, y) in x.chunks(weight.cols).zip(y.chunks(weight.cols)) {
        for row in 0..weight.rows {
            let span = row * weight.cols..(row + 1) * weight.cols;
            let bias = rounded.bias.as_ref().map_or(0.0, |bias| f64::from(bias[row]));
            let exact = times(&weight.values[span.clone()], y);
            error += (times(&found[span], x) + bias - exact).powi(2);
            energy += exact * exact;
        }
    }
    error / energy
}

#[test]
fn the_heldout_error_is_that_of_the_outputs() {
    let (rows, cols, tokens) = (5, 24, 100);
    let (values, x) = (noise(9, rows * cols), inputs(3, tokens, cols));
    let y: Vec<f32> = x.iter().zip(noise(8, x.len())).map(|(x, n)| x + 0.1 * n + 0.05).collect();
    let weight = Weight { rows, cols, values: &values };
    let format = format(3, Levels::Odd, 8);
    let mut rounded = Nearest {}.round(&weight, &moments(1, tokens, cols), &format).unwrap();
    rounded.bias = Some(vec![0.1, -0.2, 0.0, 0.3, 0.05]);
    for y in [&x, &y] {
        let mut seen = Moments::new(cols, y != &x);
        seen.add(&x[..60 * cols], Some(&y[..60 * cols])).unwrap();
        seen.add(&x[60 * cols..], Some(&y[60 * cols..])).unwrap();
        let (found, expected) = (heldout(&weight, &rounded, &format, &seen).unwrap(), direct(&weight, &rounded, &format, &x, y));
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }
}

#[test]
fn what_cannot_be_rounded_is_refused() {
    let values = noise(1, 12);
    let weight = Weight { rows: 2, cols: 6, values: &values };
    let round = |weight: &Weight<'_>, moments: &Moments| Nearest {}.round(weight, moments, &format(4, Levels::Signed, 0)).unwrap_err();
    let mut bad = moments(1, 20, 6);
    bad.c[7] = f64::NAN;
    assert!(matches!(round(&weight, &bad), RoundError::NotFinite { what: "second moments", at: 7, .. }));
    assert!(matches!(round(&weight, &moments(1, 20, 5)), RoundError::Size { what: "moments", expected: 6, found: 5 }));
    let mut values = values.clone();
    values[3] = f32::INFINITY;
    let weight = Weight { rows: 2, cols: 6, values: &values };
    assert!(matches!(round(&weight, &moments(1, 20, 6)), RoundError::NotFinite { what: "weight", at: 3, .. }));
}

/// Every set of levels, with its bits.
const FORMATS: [(u8, Levels); 8] = [
    (2, Levels::Odd),
    (3, Levels::Odd),
    (1, Levels::Odd),
    (4, Levels::Signed),
    (2, Levels::Signed),
    (3, Levels::Unsigned),
    (3, Levels::Five),
    (2, Levels::Ternary),
];

fn recipes() -> Vec<Recipe> {
    let methods = [Method::Nearest, Method::Gptq, Method::Descent, Method::Soft(Soft::default())];
    methods.into_iter().flat_map(|method| [0, 3].map(|refits| Recipe { method, refits, ..Recipe::default() })).collect()
}

/// The error of every row that rounders minimize.
fn errors(problem: &Problem, rounded: &Rounded) -> Vec<f64> {
    Choice::new(problem, rounded.codes.clone(), rounded.grids.clone()).errors
}

#[test]
fn no_row_is_worse_than_nearest() {
    let (rows, cols) = (9, 50);
    let (values, seen) = (noise(4, rows * cols), moments(2, 300, cols));
    let weight = Weight { rows, cols, values: &values };
    for ((bits, levels), group) in FORMATS.into_iter().flat_map(|levels| [0, 16].map(|group| (levels, group))) {
        let format = format(bits, levels, group);
        for bias in [false, true] {
            let aim = Aim { damping: 0.03, retarget: false, centered: bias };
            let problem = Problem::new(&weight, &seen, &format, aim).unwrap();
            let nearest = Recipe { method: Method::Nearest, refits: 0, bias, ..Recipe::default() };
            let nearest = errors(&problem, &nearest.round(&weight, &seen, &format).unwrap());
            for recipe in recipes() {
                let rounded = Recipe { bias, ..recipe }.round(&weight, &seen, &format).unwrap();
                let worse = errors(&problem, &rounded).iter().zip(&nearest).any(|(error, nearest)| error > nearest);
                assert!(!worse, "{levels:?} {bits} group {group}: {recipe:?}");
            }
        }
    }
}

#[test]
fn weights_on_a_grid_stay() {
    let (rows, cols, group) = (4, 64, 16);
    for (bits, levels) in FORMATS {
        let format = format(bits, levels, group);
        let last = levels.count(bits) as u8 - 1;
        let lowest = format.rounding.lowest();
        let codes: Vec<u8> = (0..rows * cols)
            .map(|i| if i % group < 2 { [lowest, last][i % group] } else { lowest.max((i * 7 % 13) as u8 % (last + 1)) })
            .collect();
        let grids: Vec<Grid> = (0..rows * cols / group)
            .map(|i| Grid { scale: 0.5 / (1 + i % 3) as f32, zero_point: i32::from(levels == Levels::Unsigned) * 3 })
            .collect();
        let exact = Rounded { codes, grids, bias: None, loss: 0.0, remarks: vec![] };
        let values = exact.decode(cols, &format);
        let weight = Weight { rows, cols, values: &values };
        for recipe in recipes() {
            let rounded = recipe.round(&weight, &moments(2, 200, cols), &format).unwrap();
            let off = rounded.decode(cols, &format).iter().zip(&values).any(|(a, b)| (a - b).abs() > 1e-3 * b.abs());
            assert!(!off, "{levels:?} {bits}: {recipe:?}");
        }
    }
}

#[test]
fn small_problems_are_solved_nearly_as_well_as_by_trying_everything() {
    let (rows, cols) = (16, 6);
    let (values, seen) = (noise(5, rows * cols), moments(3, 60, cols));
    let weight = Weight { rows, cols, values: &values };
    let format = format(2, Levels::Odd, 0);
    let problem = Problem::new(&weight, &seen, &format, Aim { damping: 0.03, retarget: false, centered: false }).unwrap();
    let start = scales::nearest(&problem);
    let all = (0..1u32 << (2 * cols)).map(|code| {
        let row: Vec<u8> = (0..cols).map(|col| (code >> (2 * col) & 3) as u8).collect();
        Choice::new(&problem, row.repeat(rows), start.grids.clone()).errors
    });
    let best = all.reduce(|a, b| a.iter().zip(b).map(|(a, b)| a.min(b)).collect()).unwrap();
    let found = |method| {
        let rounded = Recipe { method, refits: 0, ..Recipe::default() }.round(&weight, &seen, &format).unwrap();
        let errors = Choice::new(&problem, rounded.codes, start.grids.clone()).errors;
        assert!(errors.iter().zip(&best).all(|(error, best)| *error >= best * (1.0 - 1e-9)));
        errors.iter().sum::<f64>() / best.iter().sum::<f64>()
    };
    let soft = Soft { first: 0, ..Soft::default() };
    let (nearest, gptq, descent, soft) = (found(Method::Nearest), found(Method::Gptq), found(Method::Descent), found(Method::Soft(soft)));
    assert!(gptq < nearest && descent < nearest && soft < 1.05 && soft < gptq, "{nearest} {gptq} {descent} {soft}");
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let (rows, cols) = (150, 130);
    let (values, x) = (noise(6, rows * cols), inputs(7, 400, cols));
    let weight = Weight { rows, cols, values: &values };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut seen = Moments::new(cols, false);
            seen.add(&x, None).unwrap();
            recipes().into_iter().map(|recipe| recipe.round(&weight, &seen, &format(2, Levels::Odd, 64)).unwrap()).collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
}

#[test]
fn inputs_that_are_silent_or_repeat_each_other_do_no_harm() {
    let (rows, cols) = (6, 20);
    let values = noise(8, rows * cols);
    let weight = Weight { rows, cols, values: &values };
    let mut x = inputs(2, 50, cols);
    x.chunks_mut(cols).for_each(|x| (x[3], x[7], x[8]) = (0.0, x[6], x[6]));
    let mut some = Moments::new(cols, false);
    some.add(&x, None).unwrap();
    for (seen, silent) in [(some, 1), (Moments::new(cols, false), cols)] {
        for (recipe, damping) in recipes().into_iter().flat_map(|recipe| [(recipe, 0.0), (recipe, 0.03)]) {
            let rounded = Recipe { damping, ..recipe }.round(&weight, &seen, &format(4, Levels::Signed, 0)).unwrap();
            assert!(rounded.decode(cols, &format(4, Levels::Signed, 0)).iter().all(|x| x.is_finite()));
            assert_eq!(rounded.remarks[0], format!("{silent} of {cols} inputs are always 0 on the calibration data"));
            assert_eq!(rounded.remarks.len(), 1 + usize::from(damping == 0.0), "{:?}", rounded.remarks);
        }
    }
}

#[test]
fn aiming_at_the_float_model_undoes_what_its_inputs_lost() {
    let (rows, cols, tokens) = (12, 48, 600);
    let (values, y) = (noise(9, rows * cols), inputs(5, tokens, cols));
    let x: Vec<f32> = y.iter().enumerate().map(|(i, y)| y * if i % 2 == 0 { 0.8 } else { 1.1 } + 0.2).collect();
    let weight = Weight { rows, cols, values: &values };
    let format = format(4, Levels::Odd, 16);
    let mut seen = Moments::new(cols, true);
    seen.add(&x, Some(&y)).unwrap();
    let loss = |retarget, bias| Recipe { retarget, bias, ..Recipe::default() }.round(&weight, &seen, &format).unwrap().loss;
    let (plain, aimed, both) = (loss(false, false), loss(true, false), loss(true, true));
    assert!(aimed < 0.5 * plain && both < aimed, "{plain} {aimed} {both}");
}
