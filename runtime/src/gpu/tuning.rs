//! A table of measurements: which kernel was the fastest for a product on an architecture.
//!
//! One line per entry, words apart: `sm_90a w4a8s_x1_g128 4096x11008 1 binary 1 1 2 1 1 8 6`: architecture, product, columns by
//! elements along k, largest count of rows, lowering, then the fields of the tile in order. `#` begins a comment.

use super::arch::Arch;
use super::spec::{Lowering, Tile};
use crate::bit_product::BitProduct;
use std::collections::BTreeMap;
use std::fmt;

/// Architecture, product, columns, elements along k, class of rows.
type Key = (Arch, String, usize, usize, usize);

/// Kernels by what they compute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning(BTreeMap<Key, (Lowering, Tile)>);

impl Tuning {
    /// Reads a table.
    ///
    /// Errors  naming the line that is no entry.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut table = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let (key, kernel) = entry(line).ok_or_else(|| format!("line {} of the tuning table: `{line}`", number + 1))?;
                table.insert(key, kernel);
            }
        }
        Ok(Tuning(table))
    }
    /// The kernel measured for this product.
    pub fn find(&self, arch: Arch, product: &BitProduct, (n, k): (usize, usize), class: usize) -> Option<(Lowering, Tile)> {
        self.0.get(&(arch, product.symbol(), n, k, class)).copied()
    }
    /// Notes the kernel for a product.
    pub fn insert(&mut self, arch: Arch, product: &BitProduct, (n, k): (usize, usize), class: usize, kernel: (Lowering, Tile)) {
        self.0.insert((arch, product.symbol(), n, k, class), kernel);
    }
}

/// The table, one line per entry.
impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((arch, product, n, k, class), (lowering, tile)) in &self.0 {
            let Tile { tokens, groups, columns, warps_m, warps_n, warps_k, stages } = tile;
            let class = if *class == usize::MAX { "more".to_string() } else { class.to_string() };
            write!(f, "{arch} {product} {n}x{k} {class} {} ", lowering.name())?;
            writeln!(f, "{tokens} {groups} {columns} {warps_m} {warps_n} {warps_k} {stages}")?;
        }
        Ok(())
    }
}

fn entry(line: &str) -> Option<(Key, (Lowering, Tile))> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [arch, product, size, class, lowering, tile @ ..] = &words[..] else { return None };
    let (n, k) = size.split_once('x')?;
    let class = if *class == "more" { usize::MAX } else { class.parse().ok()? };
    let numbers: Vec<u8> = tile.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [tokens, groups, columns, warps_m, warps_n, warps_k, stages] = numbers[..] else { return None };
    let tile = Tile { tokens, groups, columns, warps_m, warps_n, warps_k, stages };
    let key = (Arch::from_name(arch)?, product.to_string(), n.parse().ok()?, k.parse().ok()?, class);
    Some((key, (Lowering::from_name(lowering)?, tile)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_they_are_written() {
        let text = "sm_80 w4a8s_x1 64x128 1 binary 1 1 2 1 1 8 6\nsm_90a w2a8s_x1_g128 64x128 more integer 8 8 4 2 4 1 3\n";
        let table = Tuning::parse(&format!("# a comment\n{text}")).unwrap();
        assert_eq!(table.to_string(), text);
        assert!(Tuning::parse("sm_80 w4a8s_x1 64x128 1 binary 1 1 2").unwrap_err().contains("line 1"));
    }
}
