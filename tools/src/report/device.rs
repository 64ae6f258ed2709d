//! Which GPU kernels compute the products of a program, and who chose them.

use crate::report::table::Table;
use mokume_ir::diag::Report;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::choose::Origin;
use mokume_runtime::gpu::plan::Plan;
use mokume_runtime::program::Program;
use serde::Serialize;

/// The kernels of products for an architecture.
#[derive(Debug, Serialize)]
pub struct DeviceKernels {
    arch: &'static str,
    /// Products and counts of rows whose kernel was measured.
    measured: usize,
    /// Those whose kernel the cost model chose.
    cost_model: usize,
    kernels: Vec<ChosenKernel>,
}

/// A kernel, for products of up to so many rows; none for any number.
#[derive(Debug, Serialize)]
struct ChosenKernel {
    kernel: String,
    rows: Option<usize>,
    products: usize,
    chosen_by: String,
}

/// What a program launches for its products, architecture by architecture.
///
/// Errors  when the program has code for an architecture that has no kernel for one of its nodes.
pub fn kernels(program: &Program) -> Result<Vec<DeviceKernels>, Report> {
    let device = &program.kernels().device;
    device.ptx.iter().map(|(arch, _)| Ok(kernels_of(*arch, &Plan::new(&program.module, *arch, &device.tuning)?))).collect()
}

fn kernels_of(arch: Arch, plan: &Plan) -> DeviceKernels {
    let products = plan.products();
    let count = |origin| products.iter().filter(|((_, choice), _)| choice.origin == origin).map(|(_, count)| count).sum();
    let kernels = products.iter().map(|((most, choice), count)| ChosenKernel {
        kernel: choice.to_string(),
        rows: (*most != usize::MAX).then_some(*most),
        products: *count,
        chosen_by: choice.origin.to_string(),
    });
    DeviceKernels { arch: arch.name(), measured: count(Origin::Measured), cost_model: count(Origin::CostModel), kernels: kernels.collect() }
}

impl DeviceKernels {
    /// `sm_90a: kernels of 12 products and counts of rows measured, 30 by the cost model`
    pub fn summary(&self) -> String {
        let DeviceKernels { arch, measured, cost_model, .. } = self;
        format!("{arch}: kernels of {measured} products and counts of rows measured, {cost_model} by the cost model")
    }
    /// All kernels.
    pub fn table(&self) -> Table {
        let mut table = Table::new([&format!("{} kernel", self.arch), "rows up to", "products", "chosen by"]);
        for ChosenKernel { kernel, rows, products, chosen_by } in &self.kernels {
            let rows = rows.map_or("more".into(), |rows| rows.to_string());
            table.row([kernel.clone(), rows, products.to_string(), chosen_by.clone()]);
        }
        table
    }
}
