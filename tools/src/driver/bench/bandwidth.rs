//! The read bandwidth of this machine: the roof over everything that streams weights.
//!
//! Threads sum a buffer that is several times larger than the last cache, each its own part. The best of a few passes counts:
//! what disturbs a pass can only slow it.

use super::samples::timed;
use mokume_ir::diag::{Diagnostic, Report};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// How many times the last cache a buffer must hold so that little of it is found there.
pub const BEYOND_CACHE: usize = 4;
/// The last cache of a machine that does not tell.
const UNKNOWN_CACHE: usize = 64 << 20;
/// Words per task: small enough to even out threads, large enough for the prefetchers.
const TASK: usize = 1 << 17;
/// Passes over the buffer.
const PASSES: usize = 7;

/// Bytes of the largest cache.
pub fn last_cache() -> usize {
    let folder = std::path::Path::new("/sys/devices/system/cpu/cpu0/cache");
    let sizes = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = sizes.filter_map(|cache| parse_size(&std::fs::read_to_string(cache.path().join("size")).ok()?));
    sizes.max().unwrap_or(UNKNOWN_CACHE)
}

/// `32768K`
fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    Some(number.parse::<usize>().ok()? * unit)
}

/// Reads memory with a number of threads, as fast as it can.
pub struct Reader {
    pool: ThreadPool,
    buffer: Vec<u64>,
}

impl Reader {
    /// A reader with a buffer far larger than the caches.
    ///
    /// Errors  when the threads do not start.
    pub fn new(threads: usize) -> Result<Self, Report> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Diagnostic::input("bench::threads", format!("{threads} threads do not start: {error}")))?;
        let words = (last_cache() * BEYOND_CACHE).max(256 << 20) / size_of::<u64>();
        // Written by the threads that read: every page is backed by memory of its own, near them.
        let mut buffer = vec![1u64; words];
        pool.install(|| buffer.par_chunks_mut(TASK).enumerate().for_each(|(i, part)| part.fill(i as u64)));
        Ok(Reader { pool, buffer })
    }
    /// Bytes per second: the best of a few passes.
    pub fn bytes_per_second(&self) -> f64 {
        let best = (0..PASSES).map(|_| timed(|| std::hint::black_box(self.pass())).1).fold(f64::INFINITY, f64::min);
        size_of_val(&self.buffer[..]) as f64 / best
    }
    fn pass(&self) -> u64 {
        self.pool.install(|| self.buffer.par_chunks(TASK).map(sum).reduce(|| 0, u64::wrapping_add))
    }
}

/// The sum in as many lanes as keep the loads independent; wider loads than every x86-64 has read no faster.
fn sum(words: &[u64]) -> u64 {
    let (groups, rest) = words.as_chunks::<32>();
    let mut lanes = [0u64; 32];
    for words in groups {
        lanes.iter_mut().zip(words).for_each(|(lane, &word)| *lane = lane.wrapping_add(word));
    }
    let sum = lanes.into_iter().fold(0, u64::wrapping_add);
    rest.iter().fold(sum, |sum, &word| sum.wrapping_add(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_sizes_are_read() {
        assert_eq!(parse_size("32768K\n"), Some(32 << 20));
        assert_eq!(parse_size("32M"), Some(32 << 20));
        assert_eq!(parse_size("all"), None);
        assert!(last_cache() >= 1 << 15);
    }

    #[test]
    fn sums_take_every_word() {
        assert_eq!(sum(&[3; 71]), 213);
    }
}
