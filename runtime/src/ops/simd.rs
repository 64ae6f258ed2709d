//! Inner loops compiled for every vector width of the machine, chosen at run time.

use std::sync::LazyLock;

/// Vector instructions that a loop may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// What every machine of the architecture has.
    Base,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL with FMA.
    Avx512,
}

/// The widest vectors of this machine.
pub fn width() -> Width {
    static WIDTH: LazyLock<Width> = LazyLock::new(detect);
    *WIDTH
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Width {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Width::Avx512,
        (true, false) => Width::Avx2,
        _ => Width::Base,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Width {
    Width::Base
}

/// Declares a function whose body is compiled once per [`Width`]. `$fma` names a const parameter of the body: whether a fused
/// multiply-add is one instruction.
macro_rules! vectorized {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<const $fma:ident: bool>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "an inner loop takes what it reads")]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn body<const $fma: bool>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                body::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                body::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            match $crate::ops::simd::width() {
                // SAFETY: the machine has these instructions.
                $crate::ops::simd::Width::Avx512 => return unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                $crate::ops::simd::Width::Avx2 => return unsafe { avx2($($arg),*) },
                $crate::ops::simd::Width::Base => {}
            }
            body::<false>($($arg),*)
        }
    };
}
pub(crate) use vectorized;

/// `a * b + c`, rounded once where that is one instruction.
#[inline(always)]
pub fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Lanes of the accumulators below.
pub const LANES: usize = 16;

/// Sum of the lanes, as a tree.
#[inline(always)]
pub fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// e^x for f32, within 2 units in the last place; 0 below -103.9, infinite above 88.8; NaN stays.
///
/// Source  argument reduction and polynomial of Cephes `expf`.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let low = if x < -104.0 { -104.0 } else { x };
    let clamped = if low > 89.0 { 89.0 } else { low };
    let shifted = mul_add::<FMA>(clamped, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = mul_add::<FMA>(n, -0.693_359_4, clamped);
    let r = mul_add::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = mul_add::<FMA>(p, r, c);
    }
    let e = mul_add::<FMA>(p, r * r, r) + 1.0;
    let bits = shifted.to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
    let half = bits >> 1;
    e * power_of_two(half) * power_of_two(bits - half)
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

vectorized! {
    /// `x[i] = e^(x[i] - shift)`; gives the sum.
    pub fn exp_shifted<const FMA: bool>(x: &mut [f32], shift: f32) -> f32 {
        let (blocks, tail) = x.as_chunks_mut::<LANES>();
        let mut sums = [0.0; LANES];
        for block in blocks {
            for i in 0..LANES {
                block[i] = exp::<FMA>(block[i] - shift);
                sums[i] += block[i];
            }
        }
        for (i, x) in tail.iter_mut().enumerate() {
            *x = exp::<FMA>(*x - shift);
            sums[i] += *x;
        }
        sum_lanes(sums)
    }
}

vectorized! {
    /// The largest element; -inf for none. NaN is ignored.
    pub fn max<const FMA: bool>(x: &[f32]) -> f32 {
        let (blocks, tail) = x.as_chunks::<LANES>();
        let mut most = [f32::NEG_INFINITY; LANES];
        for block in blocks {
            for i in 0..LANES {
                most[i] = if block[i] > most[i] { block[i] } else { most[i] };
            }
        }
        most.iter().chain(tail).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
    }
}

vectorized! {
    /// `Σ a[i] b[i]`, over the shorter length.
    pub fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
        let len = a.len().min(b.len());
        let (a, b) = (&a[..len], &b[..len]);
        let ((a4, a_tail), (b4, b_tail)) = (a.as_chunks::<{ 4 * LANES }>(), b.as_chunks::<{ 4 * LANES }>());
        let mut sums = [0.0; 4 * LANES];
        for (a, b) in a4.iter().zip(b4) {
            for i in 0..4 * LANES {
                sums[i] = mul_add::<FMA>(a[i], b[i], sums[i]);
            }
        }
        for (i, (a, b)) in a_tail.iter().zip(b_tail).enumerate() {
            sums[i] = mul_add::<FMA>(*a, *b, sums[i]);
        }
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = (sums[i] + sums[i + LANES]) + (sums[i + 2 * LANES] + sums[i + 3 * LANES]);
        }
        sum_lanes(lanes)
    }
}

vectorized! {
    /// `y[i] += a x[i]`, over the shorter length.
    pub fn axpy<const FMA: bool>(a: f32, x: &[f32], y: &mut [f32]) -> () {
        for (y, x) in y.iter_mut().zip(x) {
            *y = mul_add::<FMA>(a, *x, *y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        let mut x: Vec<f32> = (-2000..1774).map(|i| i as f32 * 0.05).collect();
        let exact: Vec<f64> = x.iter().map(|&x| (x as f64).exp()).collect();
        exp_shifted(&mut x, 0.0);
        for (got, want) in x.iter().zip(exact) {
            assert!((*got as f64 - want).abs() <= want * 3e-7 + 1e-44, "{got} for {want}");
        }
        let mut edges = [f32::NEG_INFINITY, f32::NAN, f32::INFINITY, 0.0];
        exp_shifted(&mut edges, 0.0);
        assert!(edges[0] == 0.0 && edges[1].is_nan() && edges[2] == f32::INFINITY && edges[3] == 1.0);
    }

    #[test]
    fn dot_sums_every_element() {
        for len in [0, 1, 63, 64, 65, 200] {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let ones = vec![1.0; len];
            assert_eq!(dot(&a, &ones), (len * len.saturating_sub(1) / 2) as f32);
        }
    }
}
