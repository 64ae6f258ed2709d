//! Losses of products, in a checkpoint.

use crate::pass::{PassContext, PassError};

/// Losses as a checkpoint keeps them: bit by bit.
pub struct Kept {
    /// By product, and what was tried on it.
    pub losses: Vec<Vec<f64>>,
    /// What they are.
    pub remark: String,
}

impl Kept {
    /// What the checkpoint has as `name` for so many products and tries; else what `measure` finds, which it keeps.
    ///
    /// Errors  those of `measure`, and when the checkpoint cannot be written.
    pub fn get(
        name: &str,
        (sites, tries): (usize, usize),
        cx: &mut PassContext<'_>,
        measure: impl FnOnce(&mut PassContext<'_>) -> Result<Self, PassError>,
    ) -> Result<Self, PassError> {
        let saved = cx.checkpoint.map(|checkpoint| checkpoint.load(name)).transpose()?.flatten();
        if let Some(kept) = saved.and_then(|data| Kept::read(&data, sites, tries)) {
            return Ok(kept);
        }
        let kept = measure(cx)?;
        cx.checkpoint.map_or(Ok(()), |checkpoint| checkpoint.store(name, &kept.write()))?;
        Ok(kept)
    }
    fn write(&self) -> Vec<u8> {
        let bits: Vec<Vec<u64>> = self.losses.iter().map(|losses| losses.iter().map(|loss| loss.to_bits()).collect()).collect();
        let body = serde_json::to_vec(&(bits, &self.remark)).unwrap_or_default();
        [blake3::hash(&body).as_bytes(), &body[..]].concat()
    }
    /// None when the data is damaged or of another shape.
    fn read(data: &[u8], sites: usize, tries: usize) -> Option<Self> {
        let (hash, body) = data.split_first_chunk::<32>()?;
        (blake3::hash(body).as_bytes() == hash).then_some(())?;
        let (bits, remark): (Vec<Vec<u64>>, String) = serde_json::from_slice(body).ok()?;
        let fits = bits.len() == sites && bits.iter().all(|losses| losses.len() == tries);
        let losses = bits.into_iter().map(|losses| losses.into_iter().map(f64::from_bits).collect()).collect();
        fits.then_some(Kept { losses, remark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let kept = Kept { losses: vec![vec![0.1, f64::MIN_POSITIVE], vec![3e300, 0.0]], remark: "so".into() };
        let mut data = kept.write();
        let read = Kept::read(&data, 2, 2).unwrap();
        assert_eq!((read.losses, read.remark), (kept.losses, kept.remark));
        assert!(Kept::read(&data, 2, 3).is_none() && Kept::read(&data[..20], 2, 2).is_none());
        data[50] ^= 1;
        assert!(Kept::read(&data, 2, 2).is_none());
    }
}
