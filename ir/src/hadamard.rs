//! Hadamard matrices: entries of ±1, rows orthogonal to each other.
//!
//! A [`Hadamard`] of order n = m 2ᵏ is H_m ⊗ H_2 ⊗ … ⊗ H_2, where H_2 = `[1 1; 1 -1]` and H_m is 1 or a matrix of Paley. All of
//! them are symmetric, so H/√n is its own inverse and its own transpose.
//!
//! Source  Paley, "On orthogonal matrices", Journal of Mathematics and Physics 12, 1933, both constructions; the rows of the
//!         first are reordered and negated to make it symmetric.

/// Orders of matrices of Paley beyond this are not built: their cost is m operations per element.
const MAX_CORE: usize = 256;

/// A symmetric Hadamard matrix as a product of a small one and a power of two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hadamard {
    core: usize,
    signs: Vec<i8>,
    twos: usize,
}

impl Hadamard {
    /// The matrix of order `order`, if one is known here.
    pub fn new(order: usize) -> Option<Self> {
        let twos = order.trailing_zeros();
        let odd = order.checked_shr(twos)?;
        if odd == 1 {
            return Some(Hadamard { core: 1, signs: vec![1], twos: order });
        }
        let cores = (2..=twos).map(|shift| odd << shift).take_while(|&core| core <= MAX_CORE);
        let found = cores.into_iter().find_map(|core| Some((core, paley(core)?)));
        found.map(|(core, signs)| Hadamard { core, signs, twos: order / core })
    }
    /// The largest order that divides `size` and has a matrix: `size` itself, or else the power of two in it.
    pub fn block_of(size: usize) -> usize {
        match Self::new(size) {
            Some(_) => size,
            None if size == 0 => 1,
            None => 1 << size.trailing_zeros(),
        }
    }
    /// Number of rows.
    pub fn order(&self) -> usize {
        self.core * self.twos
    }
    /// Order m of the factor that is no power of two, or 1.
    pub fn core(&self) -> usize {
        self.core
    }
    /// Entries of that factor, row by row.
    pub fn core_signs(&self) -> &[i8] {
        &self.signs
    }
    /// Multiplies a vector by H/√n.
    ///
    /// Panics  when the vector does not have n elements.
    pub fn apply(&self, x: &mut [f64]) {
        assert_eq!(x.len(), self.order(), "a vector of another size");
        x.chunks_exact_mut(self.twos).for_each(butterflies);
        if self.core > 1 {
            self.mix(x);
        }
        let scale = 1.0 / (self.order() as f64).sqrt();
        x.iter_mut().for_each(|x| *x *= scale);
    }
    /// Multiplies by H_m across the runs of `twos` elements.
    fn mix(&self, x: &mut [f64]) {
        let runs = x.to_vec();
        for (row, out) in self.signs.chunks_exact(self.core).zip(x.chunks_exact_mut(self.twos)) {
            out.fill(0.0);
            for (&sign, run) in row.iter().zip(runs.chunks_exact(self.twos)) {
                out.iter_mut().zip(run).for_each(|(out, x)| *out += f64::from(sign) * x);
            }
        }
    }
}

/// Multiplies by H_2 ⊗ … ⊗ H_2.
fn butterflies(x: &mut [f64]) {
    let mut half = 1;
    while half < x.len() {
        for pair in x.chunks_exact_mut(2 * half) {
            let (a, b) = pair.split_at_mut(half);
            a.iter_mut().zip(b).for_each(|(a, b)| (*a, *b) = (*a + *b, *a - *b));
        }
        half *= 2;
    }
}

/// A symmetric Hadamard matrix of order q + 1 or 2 (q + 1) for a field of q elements.
fn paley(order: usize) -> Option<Vec<i8>> {
    first(order).or_else(|| second(order))
}

/// Order q + 1 for q ≡ 3 (mod 4): `χ(i + j)`, bordered by ones.
fn first(order: usize) -> Option<Vec<i8>> {
    let field = Field::new(order.checked_sub(1).filter(|q| q % 4 == 3)?)?;
    let entry = |i: usize, j: usize| match (i.checked_sub(1), j.checked_sub(1)) {
        (Some(a), Some(b)) => match field.character(field.add(a, b)) {
            0 => -1,
            character => character,
        },
        _ => 1,
    };
    Some(matrix(order, entry))
}

/// Order 2 (q + 1) for q ≡ 1 (mod 4), from the symmetric conference matrix `χ(i - j)`, bordered by ones.
fn second(order: usize) -> Option<Vec<i8>> {
    let field = Field::new((order / 2).checked_sub(1).filter(|q| q % 4 == 1)?)?;
    let conference = |i: usize, j: usize| match (i.checked_sub(1), j.checked_sub(1)) {
        (Some(a), Some(b)) => field.character(field.add(a, field.negative(b))),
        (None, None) => 0,
        _ => 1,
    };
    let entry = |i: usize, j: usize| match (conference(i / 2, j / 2), i % 2, j % 2) {
        (0, 0, 0) => 1,
        (0, ..) => -1,
        (sign, 1, 1) => -sign,
        (sign, ..) => sign,
    };
    Some(matrix(order, entry))
}

fn matrix(order: usize, entry: impl Fn(usize, usize) -> i8) -> Vec<i8> {
    (0..order * order).map(|at| entry(at / order, at % order)).collect()
}

/// A field of p or p² elements for an odd prime p; element `a + b p` is a + bt with t² no square.
struct Field {
    p: usize,
    square: Vec<bool>,
}

impl Field {
    fn new(q: usize) -> Option<Self> {
        let root = q.isqrt();
        let p = if root * root == q { root } else { q };
        if p < 3 || (2..=p.isqrt()).any(|d| p.is_multiple_of(d)) {
            return None;
        }
        let mut square = vec![false; q];
        let residues: Vec<usize> = (1..p).map(|a| a * a % p).collect();
        let other = (2..p).find(|a| !residues.contains(a))?;
        for (a, b) in (0..q).map(|element| (element % p, element / p)) {
            square[(a * a + other * b * b) % p + 2 * a * b % p * p] = true;
        }
        Some(Field { p, square })
    }
    fn add(&self, x: usize, y: usize) -> usize {
        let (p, part) = (self.p, |x: usize, y: usize| (x + y) % self.p);
        part(x % p, y % p) + part(x / p, y / p) * p
    }
    fn negative(&self, x: usize) -> usize {
        let (p, part) = (self.p, |x: usize| (self.p - x) % self.p);
        part(x % p) + part(x / p) * p
    }
    /// 0 for 0, 1 for squares, -1 for others.
    fn character(&self, x: usize) -> i8 {
        match x {
            0 => 0,
            _ if self.square[x] => 1,
            _ => -1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_symmetric_and_orthogonal() {
        let known: Vec<usize> = (1..=160).filter(|&order| Hadamard::new(order).is_some()).collect();
        let missing: Vec<usize> = (4..=160).step_by(4).filter(|order| !known.contains(order)).collect();
        assert_eq!(missing, [92, 116, 156], "as constructions other than Paley's are needed");
        for order in known {
            let hadamard = Hadamard::new(order).unwrap();
            let column = |j: usize| {
                let mut x = vec![0.0; order];
                x[j] = 1.0;
                hadamard.apply(&mut x);
                x
            };
            let columns: Vec<Vec<f64>> = (0..order).map(column).collect();
            for i in 0..order {
                for j in 0..order {
                    let dot: f64 = columns[i].iter().zip(&columns[j]).map(|(a, b)| a * b).sum();
                    assert!((dot - f64::from(i == j)).abs() < 1e-12, "order {order}");
                    assert_eq!(columns[i][j], columns[j][i], "order {order}");
                }
            }
        }
    }

    #[test]
    fn widths_of_models_have_matrices_or_blocks() {
        assert_eq!([576, 1536, 64, 384, 960, 2560, 4864, 14336].map(Hadamard::block_of), [576, 1536, 64, 384, 960, 2560, 4864, 14336]);
        assert_eq!([172, 11008, 7, 0].map(Hadamard::block_of), [4, 256, 1, 1]);
        assert_eq!(Hadamard::new(576).map(|h| h.core()), Some(36));
    }
}
