//! Kernels of quantized products against the definition, on the device that will run them: a few rows, columns and blocks with
//! random codes, before the first model runs. A driver or a device that computes something else is found here and not in the results.

use super::abi::MatmulArgs;
use super::device::{Address, Device, DeviceError, Launch};
use super::kernel::Kernel;
use super::rows::{self, DeviceRows};
use super::spec::{CHUNK, COLUMNS, FRAGMENT, Layout, MatmulSpec, Store, bit_of};
use crate::bit_product::ByteCode;
use crate::ops::epilogue::activate;
use mokume_ir::op::Epilogue;

/// Checks every product kernel among `kernels`.
///
/// Errors  naming the kernel that gives another result than the definition, or that the device refuses.
pub fn check<'k>(device: &mut dyn Device, kernels: impl Iterator<Item = &'k Kernel>) -> Result<(), DeviceError> {
    kernels
        .filter_map(|kernel| if let Kernel::BitMatmul(spec) = kernel { Some(spec) } else { None })
        .try_for_each(|spec| product(device, spec))
}

fn product(device: &mut dyn Device, spec: &MatmulSpec) -> Result<(), DeviceError> {
    let trial = Trial::new(spec);
    let results = trial.run(device)?;
    let expected = trial.expected();
    let Some(wrong) = results.iter().zip(&expected).position(|(is, should)| is.to_bits() != should.to_bits()) else { return Ok(()) };
    let (row, column) = (wrong / trial.layout.n, wrong % trial.layout.n);
    let why = format!("row {row}, column {column} of a trial is {} and not {}", results[wrong], expected[wrong]);
    Err(DeviceError::Launch { kernel: spec.symbol(), why: format!("the device computes something else than the definition: {why}") })
}

/// A product with random codes.
struct Trial<'s> {
    spec: &'s MatmulSpec,
    layout: Layout,
    rows: DeviceRows,
    /// The bytes that activations stand for.
    bytes: Vec<i32>,
    /// Weight codes, `[column][element]`.
    codes: Vec<u8>,
    /// Per block and padded column.
    scales: Vec<f32>,
    zeros: Vec<i32>,
    sums: Vec<i32>,
    bias: Vec<f32>,
}

impl<'s> Trial<'s> {
    fn new(spec: &'s MatmulSpec) -> Self {
        let (m, n) = (usize::from(spec.tile.tokens) + 1, spec.tile.block_columns() * COLUMNS + 3);
        let layout = spec.layout(n, spec.block.map_or(300, |size| 2 * size as usize + 7));
        let mut random = Random(17);
        let codes: Vec<u8> = (0..n * layout.k).map(|_| random.below(1 << spec.w_bits) as u8).collect();
        let code = ByteCode { bias: if spec.a_signed { 1 << (spec.a_bits - 1) } else { 0 }, step: 1, center: 0, signed: spec.a_signed };
        let a_codes: Vec<u8> = (0..m * layout.k).map(|_| random.below(1 << spec.a_bits) as u8).collect();
        let mut numbers = |count: usize| (0..count).map(|_| random.below(9) as i32 - 4).collect::<Vec<i32>>();
        let (centers, count) = (numbers(m), layout.blocks * layout.padded_n());
        let (zeros, sums, steps) = (numbers(count), numbers(count), numbers(count));
        let scale = |step: &i32| 0.01 * (*step as f32 + 5.5);
        let rows = rows::pack(spec, &layout, code, -3, &a_codes, &centers.iter().map(scale).collect::<Vec<_>>(), &centers);
        let bytes = a_codes.iter().map(|&u| i32::from(u) - code.bias).collect();
        let bias = (0..n).map(|column| column as f32 * 0.5 - 4.0).collect();
        Trial { spec, layout, rows, bytes, codes, scales: steps.iter().map(scale).collect(), zeros, sums, bias }
    }
    /// Bit planes of the weights.
    fn planes(&self) -> Vec<u8> {
        let (layout, bits) = (&self.layout, self.layout.w_bits);
        let mut planes = vec![0; layout.weight_bytes()];
        for (at, &code) in self.codes.iter().enumerate() {
            let (column, k) = (at / layout.k, layout.padded(at % layout.k));
            let (word, bit) = bit_of(k % CHUNK);
            let fragment = (k / CHUNK * layout.columns() + column / COLUMNS) * bits;
            for plane in 0..bits {
                let start = (fragment + plane) * FRAGMENT + (column % COLUMNS * 4 + word) * 4;
                planes[start + bit as usize / 8] |= (code >> plane & 1) << (bit % 8);
            }
        }
        planes
    }
    /// What the kernel stores.
    fn run(&self, device: &mut dyn Device) -> Result<Vec<f32>, DeviceError> {
        let mut held = Vec::new();
        let results = self.run_holding(device, &mut held);
        let freed = held.into_iter().try_for_each(|address| device.free(address));
        results.and_then(|results| freed.map(|()| results))
    }
    fn run_holding(&self, device: &mut dyn Device, held: &mut Vec<Address>) -> Result<Vec<f32>, DeviceError> {
        let m = self.rows.scales.len();
        let mut results = vec![0f32; m * self.layout.n];
        let mut upload = |bytes: &[u8]| {
            let address = device.alloc(bytes.len())?;
            held.push(address);
            device.write(address, bytes).map(|()| address)
        };
        let args = MatmulArgs {
            activations: upload(&self.rows.activations)?,
            corrections: upload(bytemuck::cast_slice(&self.rows.corrections))?,
            centers: upload(bytemuck::cast_slice(&self.rows.centers))?,
            scales: upload(bytemuck::cast_slice(&self.rows.scales))?,
            weights: upload(&self.planes())?,
            w_scales: upload(bytemuck::cast_slice(&self.scales))?,
            w_zeros: upload(bytemuck::cast_slice(&self.zeros))?,
            w_sums: upload(bytemuck::cast_slice(&self.sums))?,
            bias: upload(bytemuck::cast_slice(&self.bias))?,
            out: upload(bytemuck::cast_slice(&results))?,
            m: m as u32,
            n: self.layout.n as u32,
            chunks: self.layout.chunks as u32,
            blocks: self.layout.blocks as u32,
        };
        let (kernel, grid) = (self.spec.symbol(), self.spec.grid(&self.layout, m, 1));
        let (block, shared_bytes) = ([self.spec.tile.threads(), 1, 1], self.spec.shared_bytes());
        device.launch(&Launch { kernel: &kernel, grid, block, shared_bytes, args: &args.words() })?;
        device.read(args.out, bytemuck::cast_slice_mut(&mut results))?;
        Ok(results)
    }
    /// What the definition says.
    fn expected(&self) -> Vec<f32> {
        let parts = self.parts();
        let rows = 0..self.rows.scales.len();
        let places = rows.flat_map(|row| (0..self.layout.n).map(move |column| (row, column)));
        places.map(|(row, column)| self.element(row, column, &parts)).collect()
    }
    /// Where the scale blocks of every team begin, and the last ends.
    fn parts(&self) -> Vec<usize> {
        let layout = &self.layout;
        if self.spec.block.is_none() {
            return vec![0, 1];
        }
        let (blocks, unit) = ((CHUNK / layout.padded_block).max(1), (layout.padded_block / CHUNK).max(1));
        let (units, teams) = (layout.chunks / unit, usize::from(self.spec.tile.warps_k));
        (0..=teams).map(|part| (units * part / teams * blocks).min(layout.blocks)).collect()
    }
    fn element(&self, row: usize, column: usize, parts: &[usize]) -> f32 {
        let term = |block: usize| self.sum(row, column, block) as f32 * self.scales[block * self.layout.padded_n() + column];
        let team = |bounds: &[usize]| (bounds[0]..bounds[1]).fold(-0f32, |sum, block| sum + term(block));
        let total = parts.windows(2).map(team).reduce(|sum, next| sum + next).unwrap_or(0.0);
        self.ended(total * self.rows.scales[row], column)
    }
    /// The corrected sum of a scale block.
    fn sum(&self, row: usize, column: usize, block: usize) -> i32 {
        let (k, at) = (self.layout.k, block * self.layout.padded_n() + column);
        let products = self.layout.block_range(block).map(|i| self.bytes[row * k + i] * i32::from(self.codes[column * k + i]));
        let sum = products.fold(0i32, i32::wrapping_add) << self.spec.shift;
        let factor = if self.spec.w_zero { self.zeros[at] } else { 1 };
        let correction = self.rows.corrections[row * self.layout.blocks + block].wrapping_mul(factor);
        let center = if self.spec.a_center { self.rows.centers[row].wrapping_mul(self.sums[at]) } else { 0 };
        sum.wrapping_add(correction).wrapping_add(center)
    }
    fn ended(&self, y: f32, column: usize) -> f32 {
        use super::spec::Activation;
        let Store::Scaled(ending) = self.spec.store else { return y };
        let mut y = [if ending.bias { y + self.bias[column] } else { y }];
        let step = ending.activation.map(|activation| match activation {
            Activation::Relu => Epilogue::Relu,
            Activation::Silu => Epilogue::Silu,
            Activation::HardSwish => Epilogue::HardSwish,
        });
        step.into_iter().for_each(|step| activate(step, &mut y));
        y[0]
    }
}

/// A small generator of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
