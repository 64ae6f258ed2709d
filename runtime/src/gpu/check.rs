//! The self-check of a kernel: random operands, and the scalar reference, bit for bit.

use super::abi::MatmulArgs;
use super::device::{Address, Device, DeviceError, Launch};
use super::rows;
use super::spec::{Activation, COLUMNS, FRAGMENT, Layout, MatmulSpec, Store, bit_of};
use crate::bit_product::ByteCode;
use crate::ops::epilogue::activate;
use mokume_ir::op::Epilogue;

/// Most rows and columns of the random operands.
const MOST: usize = 61;
/// Elements along k without blocks.
const TERMS: usize = 300;

/// Why a kernel is not to be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The kernel computes something else.
    #[error("kernel {kernel}: row {row}, column {column} is {is}, not {expected}")]
    Wrong {
        /// The kernel.
        kernel: String,
        /// Where.
        row: usize,
        /// Where.
        column: usize,
        /// What the device computed.
        is: f32,
        /// What the reference computed.
        expected: f32,
    },
}

/// Runs a kernel that stores scaled results.
///
/// Errors  when the device fails, or any bit of the results is not that of the reference.
pub fn check(device: &mut dyn Device, spec: &MatmulSpec) -> Result<(), CheckError> {
    let operands = Operands::random(spec);
    let mut memory = Vec::new();
    let results = operands.run(device, spec, &mut memory);
    memory.into_iter().try_for_each(|address| device.free(address))?;
    operands.compare(spec, &results?)
}

/// Operands of a product, in codes.
struct Operands {
    layout: Layout,
    m: usize,
    n: usize,
    w: Vec<u8>,
    b: Vec<i8>,
    corrections: Vec<i32>,
    centers: Vec<i32>,
    scales: Vec<f32>,
    w_scales: Vec<f32>,
    w_zeros: Vec<i32>,
    w_sums: Vec<i32>,
    bias: Vec<f32>,
}

impl Operands {
    fn random(spec: &MatmulSpec) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = |below: usize| -> usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let k = spec.block.map_or(TERMS, |size| size as usize * 5 / 2 + 1);
        let (m, n) = (spec.tile.rows().min(MOST), (spec.tile.block_columns() * COLUMNS - 3).min(MOST));
        let layout = spec.layout(n, k);
        let low = if spec.a_signed { 1 << (spec.a_bits - 1) } else { 0 };
        let w = (0..n * k).map(|_| next(1 << spec.w_bits) as u8).collect();
        let b = (0..m * k).map(|_| (next(1 << spec.a_bits) as i32 - low) as i8).collect();
        let mut ints = |count: usize| (0..count).map(|_| next(200) as i32 - 100).collect::<Vec<i32>>();
        let columns = layout.blocks * layout.padded_n();
        let (corrections, centers, w_zeros, w_sums) = (ints(m * layout.blocks), ints(m), ints(columns), ints(columns));
        let mut floats = |count: usize| ints(count).into_iter().map(|x| x as f32 / 128.0 + 1.0).collect::<Vec<f32>>();
        let (scales, w_scales, bias) = (floats(m), floats(columns), floats(n));
        Operands { layout, m, n, w, b, corrections, centers, scales, w_scales, w_zeros, w_sums, bias }
    }
    fn run(&self, device: &mut dyn Device, spec: &MatmulSpec, memory: &mut Vec<Address>) -> Result<Vec<f32>, DeviceError> {
        let mut upload = |device: &mut dyn Device, bytes: &[u8]| -> Result<Address, DeviceError> {
            let address = device.alloc(bytes.len())?;
            memory.push(address);
            device.write(address, bytes)?;
            Ok(address)
        };
        let mut results = vec![0f32; self.m * self.n];
        let plain = ByteCode { bias: 0, step: 1, center: 0, signed: spec.a_signed };
        let rows = rows::pack(spec, &self.layout, plain, 1, bytemuck::cast_slice(&self.b), &self.scales, &self.centers);
        let args = MatmulArgs {
            activations: upload(device, &rows.activations)?,
            corrections: upload(device, bytemuck::cast_slice(&self.corrections))?,
            centers: upload(device, bytemuck::cast_slice(&self.centers))?,
            scales: upload(device, bytemuck::cast_slice(&self.scales))?,
            weights: upload(device, &self.planes(spec))?,
            w_scales: upload(device, bytemuck::cast_slice(&self.w_scales))?,
            w_zeros: upload(device, bytemuck::cast_slice(&self.w_zeros))?,
            w_sums: upload(device, bytemuck::cast_slice(&self.w_sums))?,
            bias: upload(device, bytemuck::cast_slice(&self.bias))?,
            out: upload(device, bytemuck::cast_slice(&results))?,
            m: self.m as u32,
            n: self.n as u32,
            chunks: self.layout.chunks as u32,
            blocks: self.layout.blocks as u32,
        };
        let (grid, block) = (spec.grid(&self.layout, self.m, 1), [spec.tile.threads(), 1, 1]);
        device.launch(&Launch { kernel: &spec.symbol(), grid, block, shared_bytes: spec.shared_bytes(), args: &args.words() })?;
        device.read(args.out, bytemuck::cast_slice_mut(&mut results))?;
        Ok(results)
    }
    fn planes(&self, spec: &MatmulSpec) -> Vec<u8> {
        let (layout, bits) = (&self.layout, spec.w_bits as usize);
        let mut planes = vec![0u8; layout.weight_bytes()];
        for (n, row) in self.w.chunks(layout.k).enumerate() {
            for (k, &code) in row.iter().enumerate() {
                let at = layout.padded(k);
                let (word, bit) = bit_of(at % super::spec::CHUNK);
                let column = (at / super::spec::CHUNK * layout.columns() + n / COLUMNS) * bits * FRAGMENT;
                for plane in 0..bits {
                    let byte = column + plane * FRAGMENT + (n % COLUMNS * 4 + word) * 4 + bit as usize / 8;
                    planes[byte] |= (code >> plane & 1) << (bit % 8);
                }
            }
        }
        planes
    }
    fn compare(&self, spec: &MatmulSpec, results: &[f32]) -> Result<(), CheckError> {
        for (index, &is) in results.iter().enumerate() {
            let (row, column) = (index / self.n, index % self.n);
            let expected = self.expected(spec, row, column);
            if is.to_bits() != expected.to_bits() {
                return Err(CheckError::Wrong { kernel: spec.to_string(), row, column, is, expected });
            }
        }
        Ok(())
    }
    fn expected(&self, spec: &MatmulSpec, row: usize, column: usize) -> f32 {
        let of_team = |bounds: &[usize]| (bounds[0]..bounds[1]).fold(-0f32, |sum, g| sum + self.term(spec, row, column, g));
        let total = spec.team_bounds(&self.layout).windows(2).map(of_team).reduce(|sum, next| sum + next).unwrap_or(-0.0);
        let Store::Scaled(ending) = spec.store else { return total };
        let scaled = total * self.scales[row];
        let mut y = [if ending.bias { scaled + self.bias[column] } else { scaled }];
        ending.activation.into_iter().for_each(|activation| activate(step_of(activation), &mut y));
        y[0]
    }
    /// `acc * scale_w` of a block.
    fn term(&self, spec: &MatmulSpec, row: usize, column: usize, g: usize) -> f32 {
        let (layout, at) = (&self.layout, g * self.layout.padded_n() + column);
        let products = layout.block_range(g).map(|k| i32::from(self.b[row * layout.k + k]) * i32::from(self.w[column * layout.k + k]));
        let correction = self.corrections[row * layout.blocks + g].wrapping_mul(if spec.w_zero { self.w_zeros[at] } else { 1 });
        let center = if spec.a_center { self.centers[row].wrapping_mul(self.w_sums[at]) } else { 0 };
        let acc = (products.sum::<i32>() << spec.shift).wrapping_add(correction).wrapping_add(center);
        acc as f32 * self.w_scales[at]
    }
}

/// The step of an epilogue that an activation is.
pub fn step_of(activation: Activation) -> Epilogue {
    match activation {
        Activation::Relu => Epilogue::Relu,
        Activation::Silu => Epilogue::Silu,
        Activation::HardSwish => Epilogue::HardSwish,
    }
}
