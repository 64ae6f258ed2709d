//! Which option every item takes, so that the sum of losses is least and the sum of sizes within a limit, or the other way around.
//!
//! Sizes are counted in units: the greatest common divisor of all, which makes the choice optimal, or where that would be too many
//! units a larger one, with sizes rounded up, so that limits hold in any case.

/// One of the ways to store an item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Bits.
    pub size: u64,
    /// What it costs.
    pub loss: f64,
}

/// Entries of the table of choices, a byte each.
const ENTRIES: u64 = 1 << 26;
/// Units of the limit at most.
const UNITS: u64 = 1 << 18;

/// The best choices for every sum of sizes up to a limit.
pub struct Allocation<'i> {
    items: &'i [Vec<Choice>],
    unit: u64,
    /// The least loss within so many units.
    best: Vec<f64>,
    /// The option of every item within so many units, with the items before it.
    taken: Vec<Vec<u8>>,
}

impl<'i> Allocation<'i> {
    /// The choices for `items` within `limit`; none when an item has no options or more than 255.
    pub fn new(items: &'i [Vec<Choice>], limit: u64) -> Option<Self> {
        if items.iter().any(|options| options.is_empty() || options.len() > 255) {
            return None;
        }
        let unit = unit(items, limit);
        let room = (limit / unit) as usize;
        let mut allocation = Allocation { items, unit, best: vec![0.0; room + 1], taken: vec![] };
        items.iter().for_each(|options| allocation.add(options));
        Some(allocation)
    }
    /// The number of the option of every item, for the least loss; none when even the smallest options are over the limit.
    pub fn least_loss(&self) -> Option<Vec<usize>> {
        let room = self.best.len() - 1;
        self.best[room].is_finite().then(|| self.walk_back(room))
    }
    /// The number of the option of every item, for the least size with at most this loss; none when the limit is too small for that.
    pub fn least_size(&self, loss: f64) -> Option<Vec<usize>> {
        self.best.iter().position(|&best| best <= loss).map(|room| self.walk_back(room))
    }
    fn add(&mut self, options: &[Choice]) {
        let mut next = vec![f64::INFINITY; self.best.len()];
        let mut chosen = vec![0u8; self.best.len()];
        for (number, option) in options.iter().enumerate() {
            let size = self.units(option);
            for at in size..self.best.len() {
                let loss = self.best[at - size] + option.loss;
                if loss < next[at] {
                    (next[at], chosen[at]) = (loss, number as u8);
                }
            }
        }
        self.best = next;
        self.taken.push(chosen);
    }
    fn units(&self, option: &Choice) -> usize {
        option.size.div_ceil(self.unit) as usize
    }
    fn walk_back(&self, mut room: usize) -> Vec<usize> {
        let mut picked = vec![0; self.items.len()];
        for (index, taken) in self.taken.iter().enumerate().rev() {
            picked[index] = usize::from(taken[room]);
            room -= self.units(&self.items[index][picked[index]]);
        }
        picked
    }
}

/// The unit of sizes.
fn unit(items: &[Vec<Choice>], limit: u64) -> u64 {
    let common = items.iter().flatten().fold(0, |common, option| gcd(common, option.size)).max(1);
    let most = (ENTRIES / (items.len() as u64).max(1)).clamp(1, UNITS);
    common.max(limit.div_ceil(most))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look like chance.
    fn number(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 33
    }

    fn random_items(seed: &mut u64) -> Vec<Vec<Choice>> {
        let count = 1 + number(seed) % 5;
        let options = |seed: &mut u64| {
            let count = 1 + number(seed) % 5;
            (0..count).map(|_| Choice { size: 1 + number(seed) % 90, loss: number(seed) as f64 }).collect()
        };
        (0..count).map(|_| options(seed)).collect()
    }

    fn total(items: &[Vec<Choice>], picked: &[usize]) -> (u64, f64) {
        let options = items.iter().zip(picked).map(|(options, &number)| options[number]);
        options.fold((0, 0.0), |sum, option| (sum.0 + option.size, sum.1 + option.loss))
    }

    /// Size and loss of all combinations.
    fn all(items: &[Vec<Choice>]) -> Vec<(u64, f64)> {
        let combinations: usize = items.iter().map(Vec::len).product();
        let picked =
            |mut number: usize| -> Vec<usize> { items.iter().map(|options| (number % options.len(), number /= options.len()).0).collect() };
        (0..combinations).map(|number| total(items, &picked(number))).collect()
    }

    #[test]
    fn it_is_the_best_of_all_combinations() {
        let mut seed = 1;
        for _ in 0..200 {
            let items = random_items(&mut seed);
            let limit = number(&mut seed) % 300;
            let found = Allocation::new(&items, limit).unwrap().least_loss();
            let best = all(&items).into_iter().filter(|total| total.0 <= limit).map(|total| total.1).min_by(f64::total_cmp);
            assert_eq!(found.is_some(), best.is_some());
            let (Some(found), Some(best)) = (found, best) else { continue };
            let (size, loss) = total(&items, &found);
            assert!(size <= limit && (loss - best).abs() <= 1e-6 * best, "{items:?} {limit}");
        }
    }

    #[test]
    fn it_is_the_smallest_of_all_combinations() {
        let mut seed = 2;
        for _ in 0..200 {
            let items = random_items(&mut seed);
            let combinations = all(&items);
            let loss = combinations[number(&mut seed) as usize % combinations.len()].1 * 1.000_001;
            let found = Allocation::new(&items, 1000).unwrap().least_size(loss).unwrap();
            let best = combinations.iter().filter(|total| total.1 <= loss).map(|total| total.0).min();
            let (size, found) = total(&items, &found);
            assert!(Some(size) == best && found <= loss, "{items:?} {loss}");
        }
    }

    #[test]
    fn odd_sizes_stay_within_the_limit() {
        let option = |size: u64| Choice { size, loss: 1.0 / size as f64 };
        let items: Vec<Vec<Choice>> = (0..300).map(|i| (2..9).map(|bits| option((1_000_003 + i * 77_777) * bits)).collect()).collect();
        let elements: u64 = (0..300).map(|i| 1_000_003 + i * 77_777).sum();
        let picked = Allocation::new(&items, elements * 31 / 10).unwrap().least_loss().unwrap();
        let (size, _) = total(&items, &picked);
        assert!(size <= elements * 31 / 10 && size as f64 > 3.08 * elements as f64, "{}", size as f64 / elements as f64);
    }

    #[test]
    fn nothing_fits_or_nothing_is_there() {
        let items = [vec![Choice { size: 2, loss: 1.0 }]];
        assert_eq!(Allocation::new(&items, 1).unwrap().least_loss(), None);
        assert_eq!(Allocation::new(&items, 2).unwrap().least_size(0.5), None);
        assert!(Allocation::new(&[vec![]], 1).is_none());
        assert_eq!(Allocation::new(&[], 0).unwrap().least_loss(), Some(vec![]));
    }
}
