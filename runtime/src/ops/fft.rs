//! Fourier transforms in f64: radix 2 for powers of two, Bluestein's algorithm for other lengths.

use std::f64::consts::PI;
use std::ops::{Add, Mul, Sub};

/// A complex number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Complex {
    /// Real part.
    pub re: f64,
    /// Imaginary part.
    pub im: f64,
}

impl Complex {
    /// e^(i angle)
    fn turn(angle: f64) -> Self {
        Complex { re: angle.cos(), im: angle.sin() }
    }
    fn conjugate(self) -> Self {
        Complex { re: self.re, im: -self.im }
    }
    fn scaled(self, factor: f64) -> Self {
        Complex { re: self.re * factor, im: self.im * factor }
    }
}

impl Add for Complex {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Complex { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Sub for Complex {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Complex { re: self.re - other.re, im: self.im - other.im }
    }
}

impl Mul for Complex {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Complex { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

/// The transform `Σ_n x[n] e^(-2πi nk/N)` in place; inverse: the other sign, divided by N.
pub fn transform(x: &mut [Complex], inverse: bool) {
    if x.len() < 2 {
        return;
    }
    if inverse {
        x.iter_mut().for_each(|x| *x = x.conjugate());
    }
    match x.len().is_power_of_two() {
        true => radix2(x),
        false => bluestein(x),
    }
    if inverse {
        let factor = 1.0 / x.len() as f64;
        x.iter_mut().for_each(|x| *x = x.conjugate().scaled(factor));
    }
}

fn radix2(x: &mut [Complex]) {
    let n = x.len();
    let bits = n.trailing_zeros();
    for i in 0..n {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            x.swap(i, j);
        }
    }
    let turns: Vec<Complex> = (0..n / 2).map(|k| Complex::turn(-2.0 * PI * k as f64 / n as f64)).collect();
    let mut half = 1;
    while half < n {
        for block in x.chunks_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                let turned = *b * turns[k * (n / 2 / half)];
                (*a, *b) = (*a + turned, *a - turned);
            }
        }
        half *= 2;
    }
}

/// As a convolution with a chirp, of a length that is a power of two.
fn bluestein(x: &mut [Complex]) {
    let n = x.len();
    let chirp: Vec<Complex> = (0..n).map(|k| Complex::turn(-PI * ((k * k) % (2 * n)) as f64 / n as f64)).collect();
    let len = (2 * n - 1).next_power_of_two();
    let (mut a, mut b) = (vec![Complex::default(); len], vec![Complex::default(); len]);
    for k in 0..n {
        a[k] = x[k] * chirp[k];
        b[k] = chirp[k].conjugate();
        b[(len - k) % len] = b[k];
    }
    radix2(&mut a);
    radix2(&mut b);
    a.iter_mut().zip(&b).for_each(|(a, &b)| *a = *a * b);
    transform(&mut a, true);
    x.iter_mut().zip(a.iter().zip(&chirp)).for_each(|(x, (&a, &chirp))| *x = a * chirp);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_equals_the_sum() {
        for n in [1, 2, 3, 8, 12, 31, 64, 100] {
            let x: Vec<Complex> = (0..n).map(|i| Complex { re: (i as f64 * 1.7).sin(), im: (i as f64 * 0.3).cos() }).collect();
            let mut y = x.clone();
            transform(&mut y, false);
            for (k, y) in y.iter().enumerate() {
                let term = |i: usize| x[i] * Complex::turn(-2.0 * PI * (i * k) as f64 / n as f64);
                let error = (0..n).fold(Complex::default(), |sum, i| sum + term(i)) - *y;
                assert!(error.re.hypot(error.im) < 1e-11 * n as f64, "{n} {k}");
            }
            transform(&mut y, true);
            assert!(x.iter().zip(&y).all(|(a, b)| (a.re - b.re).hypot(a.im - b.im) < 1e-12 * n as f64));
        }
    }
}
