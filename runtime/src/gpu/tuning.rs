//! A table of measurements: which kernel was the fastest for a product on an architecture.
//!
//! One line per entry, words apart: `sm_90a w4a8s_x1_g128 4096x11008 1 binary 1 1 2 1 1 8 6 1`: architecture, product, columns by
//! elements along k, largest count of rows of a class (`more` is the last), lowering, the fields of the tile in order, and the blocks of
//! threads that share k. `#` begins a comment. Of two lines for the same product the later one counts.

use super::arch::Arch;
use super::choose::{CLASSES, MOST_PARTS, possible};
use super::spec::{Lowering, Tile};
use crate::bit_product::BitProduct;
use std::collections::BTreeMap;
use std::fmt;

/// Architecture, product, columns, elements along k, class of rows.
type Key = (Arch, BitProduct, usize, usize, usize);

/// A kernel that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// How products are formed.
    pub lowering: Lowering,
    /// How threads divide the work.
    pub tile: Tile,
    /// Blocks of threads that share k.
    pub parts: usize,
}

/// Kernels by what they compute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning(BTreeMap<Key, Measured>);

impl Tuning {
    /// Reads a table.
    ///
    /// Errors  naming the first line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut table = Tuning::default();
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            if !words.is_empty() {
                table.add_line(&words).map_err(|why| format!("line {}: {why}", number + 1))?;
            }
        }
        Ok(table)
    }
    /// Adds the entry that the words of a line say.
    ///
    /// Errors  why it is none, or no kernel can be so.
    pub fn add_line(&mut self, words: &[&str]) -> Result<(), String> {
        let (key, measured) = entry(words)?;
        possible(key.0, &key.1, measured.lowering, measured.tile)?;
        self.0.insert(key, measured);
        Ok(())
    }
    /// Notes the kernel for a product.
    pub fn insert(&mut self, arch: Arch, product: &BitProduct, (n, k): (usize, usize), class: usize, measured: Measured) {
        self.0.insert((arch, *product, n, k, class), measured);
    }
    /// The kernel measured for this product.
    pub fn find(&self, arch: Arch, product: &BitProduct, (n, k): (usize, usize), class: usize) -> Option<Measured> {
        self.0.get(&(arch, *product, n, k, class)).copied()
    }
    /// The entries of some architectures.
    pub fn of_archs(&self, archs: &[Arch]) -> Self {
        Tuning(self.0.iter().filter(|(key, _)| archs.contains(&key.0)).map(|(key, measured)| (*key, *measured)).collect())
    }
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The table, one line per entry.
impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((arch, product, n, k, class), Measured { lowering, tile, parts }) in &self.0 {
            let Tile { tokens, groups, columns, warps_m, warps_n, warps_k, stages } = tile;
            let class = if *class == usize::MAX { "more".to_string() } else { class.to_string() };
            write!(f, "{arch} {} {n}x{k} {class} {} ", product.symbol(), lowering.name())?;
            writeln!(f, "{tokens} {groups} {columns} {warps_m} {warps_n} {warps_k} {stages} {parts}")?;
        }
        Ok(())
    }
}

fn entry(words: &[&str]) -> Result<(Key, Measured), String> {
    let &[arch, product, size, class, lowering, ref tile @ ..] = words else {
        return Err("a GPU kernel is an architecture, product, size, rows, lowering, seven numbers of a tile, and parts".into());
    };
    let arch = Arch::from_name(arch).ok_or_else(|| format!("there is no GPU architecture `{arch}`"))?;
    let product = BitProduct::from_symbol(product).ok_or_else(|| format!("there is no product `{product}`"))?;
    let lowering = Lowering::from_name(lowering).ok_or_else(|| unknown("lowering", lowering, &Lowering::ALL.map(Lowering::name)))?;
    let (n, k) = size_of(size).ok_or_else(|| format!("`{size}` is no size such as 4096x11008"))?;
    let measured = divided(lowering, tile)?;
    Ok(((arch, product, n, k, class_of(class)?), measured))
}

fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    format!("there is no {what} `{word}`; they are {}", known.join(", "))
}

fn size_of(size: &str) -> Option<(usize, usize)> {
    let (n, k) = size.split_once('x')?;
    Some((n.parse().ok().filter(|&n| n > 0)?, k.parse().ok().filter(|&k| k > 0)?))
}

fn class_of(word: &str) -> Result<usize, String> {
    let class = if word == "more" { Some(usize::MAX) } else { word.parse().ok().filter(|&class| class != usize::MAX) };
    class.filter(|class| CLASSES.contains(class)).ok_or_else(|| {
        let known: Vec<String> = CLASSES[..CLASSES.len() - 1].iter().map(usize::to_string).collect();
        format!("there is no class of `{word}` rows; they are {}, more", known.join(", "))
    })
}

fn divided(lowering: Lowering, words: &[&str]) -> Result<Measured, String> {
    let numbers = words.iter().map(|word| word.parse::<u8>().map_err(|_| format!("`{word}` is no small number")));
    let numbers = numbers.collect::<Result<Vec<u8>, String>>()?;
    let [tokens, groups, columns, warps_m, warps_n, warps_k, stages, parts] = numbers[..] else {
        return Err(format!("{} numbers after the lowering, not the seven of a tile and the parts along k", numbers.len()));
    };
    if parts == 0 || usize::from(parts) > MOST_PARTS {
        return Err(format!("{parts} parts along k, not 1 to {MOST_PARTS}"));
    }
    let tile = Tile { tokens, groups, columns, warps_m, warps_n, warps_k, stages };
    Ok(Measured { lowering, tile, parts: parts.into() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_they_are_written() {
        let text = "sm_80 w4a8s_x1 64x128 1 binary 1 1 2 1 1 8 6 1\nsm_90a w2a8s_x1_g128 64x128 more integer 8 8 4 2 4 1 3 4\n";
        let table = Tuning::parse(&format!("# a comment\n{text}")).unwrap();
        assert_eq!(table.to_string(), text);
        assert_eq!(table.of_archs(&[Arch::Sm90a]).len(), 1);
    }

    #[test]
    fn wrong_lines_are_named_with_the_reason() {
        let wrong = |line: &str| Tuning::parse(&format!("\n{line}")).unwrap_err();
        for (line, why) in [
            ("sm_80 w4a8s_x1 64x128 1 binary 1 1 2", "3 numbers after the lowering"),
            ("sm_81 w4a8s_x1 64x128 1 binary 1 1 2 1 1 8 6 1", "no GPU architecture `sm_81`"),
            ("sm_80 w9a8s_x1 64x128 1 binary 1 1 2 1 1 8 6 1", "no product `w9a8s_x1`"),
            ("sm_80 w4a8s_x3 64x128 1 binary 1 1 2 1 1 8 6 1", "no product `w4a8s_x3`"),
            ("sm_80 w4a8s_x1 64 1 binary 1 1 2 1 1 8 6 1", "`64` is no size"),
            ("sm_80 w4a8s_x1 64x128 3 binary 1 1 2 1 1 8 6 1", "no class of `3` rows; they are 1, 2, 4, 8, 32, more"),
            ("sm_80 w4a8s_x1 64x128 1 bytes 1 1 2 1 1 8 6 1", "no lowering `bytes`; they are binary, group, integer, integer_group"),
            ("sm_80 w4a8s_x1 64x128 1 binary 1 1 2 1 1 8 6 0", "0 parts along k"),
            ("sm_80 w4a8s_x1 64x128 1 binary 3 1 2 1 1 8 6 1", "groups of 3 rows"),
            ("sm_80 w4a8s_x1 64x128 1 binary 1 1 2 1 4 8 6 1", "teams along k of several warps"),
            ("sm_120 w4a8s_x1 64x128 1 binary 1 1 2 1 1 8 6 1", "sm_120 has no binary products"),
            ("sm_80 w4a8s_x1 64x128 1 integer 8 1 3 1 1 8 6 1", "an odd number of fragments of columns"),
            ("sm_86 w8a8s_x1 64x128 more integer 8 8 4 2 4 1 9 1", "bytes of shared memory"),
        ] {
            let said = wrong(line);
            assert!(said.starts_with("line 2: ") && said.contains(why), "`{line}`: {said}");
        }
    }

    #[test]
    fn products_are_read_as_they_are_written() {
        let product =
            BitProduct { w_bits: 3, a_bits: 7, a_signed: false, shift: 1, w_zero: true, a_center: true, a_blocks: false, block: Some(64) };
        for product in [product, BitProduct { a_signed: true, shift: 0, w_zero: false, block: None, ..product }] {
            assert_eq!(BitProduct::from_symbol(&product.symbol()), Some(product));
        }
        for wrong in ["w0a8_x1", "w4a8ss_x1", "w4a8s_x1_g0", "w4a8s_x1_zz", "w4a8s_x0", "w4a8s", "a8"] {
            assert_eq!(BitProduct::from_symbol(wrong), None);
        }
    }
}
