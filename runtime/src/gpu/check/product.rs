//! The self-check of the kernels of a product: random operands, and the scalar reference, bit for bit.

use super::{CheckError, Memory, Random, with_memory};
use crate::bit_product::ByteCode;
use crate::gpu::abi::MatmulArgs;
use crate::gpu::choose::Choice;
use crate::gpu::device::{Device, DeviceError, Launch};
use crate::gpu::rows;
use crate::gpu::spec::{Activation, CHUNK, COLUMNS, FRAGMENT, FinishSpec, Layout, MatmulSpec, bit_of};
use crate::ops::epilogue::activate;
use mokume_ir::op::Epilogue;

/// Most rows and columns of the random operands.
const MOST: usize = 61;
/// Elements along k without blocks.
const TERMS: usize = 300;

/// Runs the kernel of a product, and what finishes its sums.
///
/// Errors  when the device fails, or any bit of the results is not that of the reference.
pub fn check(device: &mut dyn Device, choice: &Choice) -> Result<(), CheckError> {
    let operands = Operands::random(choice);
    let results = with_memory(device, |device, memory| operands.run(device, choice, memory))?;
    operands.compare(choice, &results)
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
    fn random(choice: &Choice) -> Self {
        let (spec, mut random) = (&choice.spec, Random::new());
        let k = spec.block.map_or(TERMS, |size| size as usize * 5 / 2 + 1).max((choice.parts - 1) * CHUNK + 1);
        let (m, n) = (spec.tile.rows().min(MOST), (spec.tile.block_columns() * COLUMNS - 3).min(MOST));
        let layout = spec.layout(n, k);
        let low = if spec.a_signed { 1 << (spec.a_bits - 1) } else { 0 };
        let w = (0..n * k).map(|_| random.below(1 << spec.w_bits) as u8).collect();
        let b = (0..m * k).map(|_| (random.below(1 << spec.a_bits) as i32 - low) as i8).collect();
        let mut ints = |count: usize| (0..count).map(|_| random.below(200) as i32 - 100).collect::<Vec<i32>>();
        let columns = layout.blocks * layout.padded_n();
        let (corrections, centers) = (ints(m * layout.blocks), ints(m * layout.row_scales));
        let (w_zeros, w_sums) = (ints(columns), ints(columns));
        let mut floats = |count: usize| ints(count).into_iter().map(|x| x as f32 / 128.0 + 1.0).collect::<Vec<f32>>();
        let (scales, w_scales, bias) = (floats(m * layout.row_scales), floats(columns), floats(n));
        Operands { layout, m, n, w, b, corrections, centers, scales, w_scales, w_zeros, w_sums, bias }
    }
    fn run(&self, device: &mut dyn Device, choice: &Choice, memory: &mut Memory) -> Result<Vec<f32>, DeviceError> {
        let spec = &choice.spec;
        let mut results = vec![0f32; self.m * self.n];
        let plain = ByteCode { bias: 0, step: 1, center: 0, signed: spec.a_signed };
        let rows = rows::pack(spec, &self.layout, plain, 1, bytemuck::cast_slice(&self.b), &self.scales, &self.centers);
        let mut upload = |bytes: &[u8]| memory.upload(device, bytes);
        let args = MatmulArgs {
            activations: upload(&rows.activations)?,
            corrections: upload(bytemuck::cast_slice(&self.corrections))?,
            centers: upload(bytemuck::cast_slice(&self.centers))?,
            scales: upload(bytemuck::cast_slice(&self.scales))?,
            weights: upload(&self.planes(spec))?,
            w_scales: upload(bytemuck::cast_slice(&self.w_scales))?,
            w_zeros: upload(bytemuck::cast_slice(&self.w_zeros))?,
            w_sums: upload(bytemuck::cast_slice(&self.w_sums))?,
            bias: upload(bytemuck::cast_slice(&self.bias))?,
            out: upload(bytemuck::cast_slice(&results))?,
            m: self.m as u32,
            n: self.n as u32,
            chunks: self.layout.chunks as u32,
            blocks: self.layout.blocks as u32,
        };
        let parts = spec.raw_parts(&self.layout, choice.parts);
        let sums = if choice.parts > 1 { upload(&vec![0; parts * self.m * self.n * 4])? } else { args.out };
        let (grid, block) = (spec.grid(&self.layout, self.m, choice.parts), [spec.tile.threads(), 1, 1]);
        let words = MatmulArgs { out: sums, ..args }.words();
        device.launch(&Launch { kernel: &spec.symbol(), grid, block, shared_bytes: spec.shared_bytes(), args: &words })?;
        if let Some(finish) = choice.finish() {
            let words = MatmulArgs { activations: sums, chunks: parts as u32, ..args }.words();
            let (grid, block) = (finish.grid(self.m, self.n), [FinishSpec::THREADS, 1, 1]);
            device.launch(&Launch { kernel: &finish.symbol(), grid, block, shared_bytes: 0, args: &words })?;
        }
        device.read(args.out, bytemuck::cast_slice_mut(&mut results))?;
        Ok(results)
    }
    fn planes(&self, spec: &MatmulSpec) -> Vec<u8> {
        let (layout, bits) = (&self.layout, spec.w_bits as usize);
        let mut planes = vec![0u8; layout.weight_bytes()];
        for (n, row) in self.w.chunks(layout.k).enumerate() {
            for (k, &code) in row.iter().enumerate() {
                let at = layout.padded(k);
                let (word, bit) = bit_of(at % CHUNK);
                let column = (at / CHUNK * layout.columns() + n / COLUMNS) * bits * FRAGMENT;
                for plane in 0..bits {
                    let byte = column + plane * FRAGMENT + (n % COLUMNS * 4 + word) * 4 + bit as usize / 8;
                    planes[byte] |= (code >> plane & 1) << (bit % 8);
                }
            }
        }
        planes
    }
    fn compare(&self, choice: &Choice, results: &[f32]) -> Result<(), CheckError> {
        for (index, &is) in results.iter().enumerate() {
            let (row, column) = (index / self.n, index % self.n);
            let expected = self.expected(choice, row, column);
            if is.to_bits() != expected.to_bits() {
                return Err(CheckError::Wrong { kernel: choice.to_string(), row, column, is, expected });
            }
        }
        Ok(())
    }
    fn expected(&self, choice: &Choice, row: usize, column: usize) -> f32 {
        let of_team = |bounds: &[usize]| (bounds[0]..bounds[1]).fold(-0f32, |sum, g| sum + self.term(&choice.spec, row, column, g));
        let bounds = if choice.parts > 1 { vec![0, self.layout.blocks] } else { choice.spec.team_bounds(&self.layout) };
        let total = bounds.windows(2).map(of_team).reduce(|sum, next| sum + next).unwrap_or(-0.0);
        let scaled = if choice.spec.a_blocks { total } else { total * self.scales[row] };
        let mut y = [if choice.ending.bias { scaled + self.bias[column] } else { scaled }];
        choice.ending.activation.into_iter().for_each(|activation| activate(step_of(activation), &mut y));
        y[0]
    }
    /// `Σ b u` of a block.
    fn sum(&self, row: usize, column: usize, g: usize) -> i32 {
        let k = self.layout.k;
        self.layout.block_range(g).map(|i| i32::from(self.b[row * k + i]) * i32::from(self.w[column * k + i])).sum()
    }
    /// `acc * scale_w` of a block, times the scale that the row has for it.
    fn term(&self, spec: &MatmulSpec, row: usize, column: usize, g: usize) -> f32 {
        let (layout, at) = (&self.layout, g * self.layout.padded_n() + column);
        let correction = self.corrections[row * layout.blocks + g].wrapping_mul(if spec.w_zero { self.w_zeros[at] } else { 1 });
        let of_row = if spec.a_blocks { row * layout.blocks + g } else { row };
        let center = if spec.a_center { self.centers[of_row].wrapping_mul(self.w_sums[at]) } else { 0 };
        let acc = (self.sum(row, column, g) << spec.shift).wrapping_add(correction).wrapping_add(center);
        let term = acc as f32 * self.w_scales[at];
        if spec.a_blocks { term * self.scales[of_row] } else { term }
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
