//! Random well-typed modules and inputs, for property tests of everything that reads or rewrites graphs.
//!
//! The same seed gives the same module. Modules run: values stay finite and moderate, indices in range, and no result
//! jumps where an operand moves a little, so that a rewrite which reorders float arithmetic stays within a tolerance.

mod generate;
mod shuffle;

pub use generate::module;
pub use shuffle::shuffled;

use crate::constant::Constant;
use crate::dim::Symbol;
use crate::graph::Module;
use crate::types::Elem;
use bytes::Bytes;

/// A small generator of random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator with this seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `bound`, which is positive.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }
    /// A float in -1 .. 1.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    /// One of the items; none when there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        (!items.is_empty()).then(|| &items[self.below(items.len())])
    }
    /// The items in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
    /// A tensor of floats in -1 .. 1.
    pub fn floats(&mut self, dims: &[usize]) -> Constant {
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| self.float()).collect();
        Constant::f32s(dims, &values)
    }
}

/// Inputs for the entry: floats in -1 .. 1, integers 0 and 1, symbols as `size_of` says. State inputs are left out.
///
/// None when an input is not a tensor of numbers, or `size_of` leaves a size open.
pub fn inputs(module: &Module, seed: u64, size_of: &dyn Fn(&Symbol) -> Option<i64>) -> Option<Vec<(String, Constant)>> {
    let mut rng = Rng::new(seed);
    let main = module.main();
    let ports = main.inputs().iter().enumerate();
    let ports = ports.filter(|(i, _)| main.states.iter().all(|state| state.input as usize != *i));
    let tensor = |rng: &mut Rng, port: &crate::graph::Port| {
        let ty = main.ty(port.value).as_tensor()?;
        let dims = ty.shape.dims()?.iter().map(|dim| dim.eval(size_of)?.try_into().ok()).collect::<Option<Vec<usize>>>()?;
        elements(rng, &dims, ty.elem)
    };
    ports.map(|(_, port)| Some((port.name.clone(), tensor(&mut rng, port)?))).collect()
}

fn elements(rng: &mut Rng, dims: &[usize], elem: Elem) -> Option<Constant> {
    let count = dims.iter().product::<usize>();
    let width = elem.bits() as usize / 8;
    match elem {
        Elem::F32 => Some(rng.floats(dims)),
        Elem::Bool | Elem::I8 | Elem::I16 | Elem::I32 | Elem::I64 | Elem::U8 | Elem::U16 | Elem::U32 | Elem::U64 => {
            let mut data = vec![0u8; count * width];
            data.iter_mut().step_by(width).for_each(|low| *low = (rng.bits() >> 63) as u8);
            Some(Constant::new(dims, elem, Bytes::from(data)))
        }
        Elem::F64 => {
            let data: Vec<u8> = (0..count).flat_map(|_| f64::from(rng.float()).to_le_bytes()).collect();
            Some(Constant::new(dims, elem, data.into()))
        }
        Elem::F16 => {
            let data: Vec<u8> = (0..count).flat_map(|_| half::f16::from_f32(rng.float()).to_le_bytes()).collect();
            Some(Constant::new(dims, elem, data.into()))
        }
        Elem::BF16 => {
            let data: Vec<u8> = (0..count).flat_map(|_| half::bf16::from_f32(rng.float()).to_le_bytes()).collect();
            Some(Constant::new(dims, elem, data.into()))
        }
        _ => None,
    }
}
