//! A table of measurements: which strategy was the fastest for a product at a level of instruction sets.
//!
//! One line per entry, words apart: `avx512 w2a8s_x1_g64 4096x11008 1 lookup 231.5`: level, product, columns by elements along k, rows
//! (`more` is for [`SHARED_ROWS`] and above), strategy, microseconds. `#` begins a comment. Of two lines for the same product the later
//! one counts. Steps, weight zero points, centers and activation groups of a product do not count: they cost the same whatever the strategy.

use super::{BitProduct, SHARED_ROWS, Strategy};
use mokume_runtime::cpu::isa::IsaLevel;
use std::collections::BTreeMap;
use std::fmt;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    level: IsaLevel,
    product: BitProduct,
    /// Whether weights are shared by several rows.
    shared: bool,
    size: (usize, usize),
}

impl Key {
    /// `rows` rows by a matrix of `n` columns and `k` elements each.
    pub fn new(level: IsaLevel, product: &BitProduct, rows: usize, (n, k): (usize, usize)) -> Self {
        let product = BitProduct { shift: 0, w_zero: false, a_center: false, a_blocks: false, ..*product };
        Key { level, product, shared: rows >= SHARED_ROWS, size: (n, k) }
    }
    fn is_alike(&self, other: &Key) -> bool {
        Key { size: self.size, ..*other } == *self
    }
    /// How far sizes are apart: the logarithm of the ratio of elements, without a sign.
    fn distance(&self, other: &Key) -> f64 {
        let elements = |key: &Key| (key.size.0 as f64) * (key.size.1 as f64);
        (elements(self) / elements(other)).ln().abs()
    }
}

/// `avx512 w2a8s_x1_g64 4096x11008 1`
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.shared { "more" } else { "1" };
        write!(f, "{} {} {}x{} {rows}", self.level, self.product.symbol(), self.size.0, self.size.1)
    }
}

/// The fastest strategies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning(BTreeMap<Key, Strategy>);

impl Tuning {
    /// Adds the entry that the words of a line say.
    ///
    /// Errors  why it is none.
    pub fn add_line(&mut self, words: &[&str]) -> Result<(), String> {
        let (key, strategy) = entry(words)?;
        self.0.insert(key, strategy);
        Ok(())
    }
    /// The strategy measured for such a product, of the nearest size that was measured.
    pub fn find(&self, key: &Key) -> Option<Strategy> {
        let alike = self.0.iter().filter(|(other, _)| other.is_alike(key));
        alike.min_by(|a, b| a.0.distance(key).total_cmp(&b.0.distance(key))).map(|(_, strategy)| *strategy)
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

/// The line of an entry: the fastest of some strategies and their microseconds; in a comment the others. None when there are none.
pub fn line(key: &Key, measured: &[(Strategy, f64)]) -> Option<String> {
    let mut order = measured.to_vec();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let words = |(strategy, us): &(Strategy, f64)| format!("{} {us:.1}", strategy.name());
    let (best, others) = order.split_first()?;
    let others: Vec<String> = others.iter().map(words).collect();
    let comment = if others.is_empty() { String::new() } else { format!(" # {}", others.join(", ")) };
    Some(format!("{key} {}{comment}", words(best)))
}

fn entry(words: &[&str]) -> Result<(Key, Strategy), String> {
    let &[level, product, size, rows, strategy, us] = words else {
        return Err("a kernel is a level, product, size, rows, strategy and microseconds".into());
    };
    let level = IsaLevel::from_name(level).ok_or_else(|| format!("there is no level `{level}`"))?;
    let product = BitProduct::from_symbol(product).ok_or_else(|| format!("there is no product `{product}`"))?;
    let size = size_of(size).ok_or_else(|| format!("`{size}` is no size such as 4096x11008"))?;
    let rows = match rows {
        "1" => 1,
        "more" => SHARED_ROWS,
        _ => return Err(format!("there is no class of `{rows}` rows; they are 1, more")),
    };
    let known = || Strategy::ALL.map(Strategy::name).join(", ");
    let strategy = Strategy::from_name(strategy).ok_or_else(|| format!("there is no strategy `{strategy}`; they are {}", known()))?;
    if us.parse::<f64>().is_err() {
        return Err(format!("`{us}` is no number of microseconds"));
    }
    Ok((Key::new(level, &product, rows, size), strategy))
}

fn size_of(size: &str) -> Option<(usize, usize)> {
    let (n, k) = size.split_once('x')?;
    Some((n.parse().ok().filter(|&n| n > 0)?, k.parse().ok().filter(|&k| k > 0)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn table(lines: &[&str]) -> Tuning {
        let mut table = Tuning::default();
        for line in lines {
            table.add_line(&line.split('#').next().unwrap().split_whitespace().collect::<Vec<_>>()).unwrap();
        }
        table
    }

    #[test]
    fn lines_are_read_as_they_are_written() {
        let product = BitProduct::from_symbol("w2a8s_x2_wz_g64").unwrap();
        let key = Key::new(IsaLevel::Avx512, &product, 1, (64, 128));
        let line = line(&key, &[(Strategy::Unpack, 12.34), (Strategy::Lookup, 9.0)]).unwrap();
        assert_eq!(line, "avx512 w2a8s_x1_g64 64x128 1 lookup 9.0 # unpack 12.3");
        assert_eq!(table(&[&line]).find(&key), Some(Strategy::Lookup));
    }

    #[test]
    fn the_nearest_size_of_the_same_product_counts() {
        let table = table(&["avx2 w1a8s_x1 64x64 1 planes 1", "avx2 w1a8s_x1 640x640 1 lookup 2", "avx2 w1a8s_x1 640x640 more unpack 3"]);
        let product = BitProduct::from_symbol("w1a8s_x1").unwrap();
        let find = |level, rows, size| table.find(&Key::new(level, &product, rows, size));
        assert_eq!(find(IsaLevel::Avx2, 1, (100, 64)), Some(Strategy::Planes));
        assert_eq!(find(IsaLevel::Avx2, 1, (1000, 1000)), Some(Strategy::Lookup));
        assert_eq!(find(IsaLevel::Avx2, 8, (64, 64)), Some(Strategy::Unpack));
        assert_eq!(find(IsaLevel::Avx512, 1, (64, 64)), None);
    }

    #[test]
    fn wrong_lines_are_refused_with_the_reason() {
        for (line, why) in [
            ("avx512 w2a8s_x1 64x128 1 lookup", "a kernel is a level"),
            ("avx512 w9a8s_x1 64x128 1 lookup 1", "no product `w9a8s_x1`"),
            ("avx512 w2a8s_x1 64 1 lookup 1", "`64` is no size"),
            ("avx512 w2a8s_x1 64x128 2 lookup 1", "no class of `2` rows"),
            ("avx512 w2a8s_x1 64x128 1 guess 1", "no strategy `guess`; they are planes, unpack, lookup"),
            ("avx512 w2a8s_x1 64x128 1 lookup fast", "`fast` is no number"),
        ] {
            let said = Tuning::default().add_line(&line.split_whitespace().collect::<Vec<_>>()).unwrap_err();
            assert!(said.contains(why), "`{line}`: {said}");
        }
    }
}
