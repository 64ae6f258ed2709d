//! Damage to files: seeded, of several kinds.

/// splitmix64: small, seeded, good enough to choose damage.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It ends early.
    Truncate,
    /// One to four bits flip.
    Flip,
    /// A number becomes extreme: eight bytes, or a varint.
    Length,
    /// A piece is repeated, left out or overwritten by another.
    Splice,
}

impl Damage {
    /// Every kind.
    pub const ALL: [Damage; 4] = [Damage::Truncate, Damage::Flip, Damage::Length, Damage::Splice];

    /// `bytes` with damage that begins within `range`.
    pub fn apply(self, bytes: &[u8], range: std::ops::Range<usize>, random: &mut Random) -> Vec<u8> {
        let at = range.start + random.below(range.len());
        let mut damaged = bytes.to_vec();
        match self {
            Damage::Truncate => damaged.truncate(at),
            Damage::Flip => {
                damaged[at] ^= 1 << random.below(8);
                for _ in 0..random.below(4) {
                    damaged[range.start + random.below(range.len())] ^= 1 << random.below(8);
                }
            }
            Damage::Length => write_number(&mut damaged, at, random),
            Damage::Splice => splice(&mut damaged, at, random),
        }
        damaged
    }
}

fn write_number(bytes: &mut [u8], at: usize, random: &mut Random) {
    let value = [0, 1, u64::MAX, u64::MAX / 2, 1 << 31, random.bits(), random.bits() >> 40][random.below(7)];
    match random.below(3) {
        0 => overwrite(bytes, at / 8 * 8, &value.to_le_bytes()),
        1 => overwrite(bytes, at, &varint(value)),
        _ => overwrite(bytes, at, &[[0, 1, 0x7f, 0x80, 0xff][random.below(5)]]),
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn overwrite(bytes: &mut [u8], at: usize, piece: &[u8]) {
    bytes[at..].iter_mut().zip(piece).for_each(|(byte, &new)| *byte = new);
}

fn splice(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let (from, len) = (random.below(bytes.len()), 1 + random.below(64));
    let piece = bytes[from..bytes.len().min(from + len)].to_vec();
    let end = bytes.len().min(at + len);
    match random.below(3) {
        0 => drop(bytes.splice(at..at, piece)),
        1 => drop(bytes.drain(at..end)),
        _ => overwrite(bytes, at, &piece),
    }
}
