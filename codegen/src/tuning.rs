//! Tables of measurements by which kernels are chosen: one file, one line per kernel, whose first word says for which machine.
//!
//! Lines that begin with a level of instruction sets are those of [`crate::kernel::tuning`]; those that begin with a GPU architecture
//! those of [`mokume_runtime::gpu::tuning`]. `#` begins a comment.

use crate::kernel::tuning as cpu;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::cpu::isa::IsaLevel;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::tuning as gpu;

/// What was measured, by kind of machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning {
    /// For GPUs.
    pub gpu: gpu::Tuning,
    /// For CPUs.
    pub cpu: cpu::Tuning,
}

impl Tuning {
    /// Reads a table.
    ///
    /// Errors  naming every line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, Report> {
        let (mut tuning, mut wrong) = (Tuning::default(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            if let Err(why) = tuning.add_line(&words) {
                wrong.push(Diagnostic::input("tuning::line", why).at((number + 1).to_string()));
            }
        }
        Report::from_findings(wrong).map_or(Ok(tuning), Err)
    }
    fn add_line(&mut self, words: &[&str]) -> Result<(), String> {
        match words.first() {
            None => Ok(()),
            Some(first) if IsaLevel::from_name(first).is_some() => self.cpu.add_line(words),
            Some(first) if Arch::from_name(first).is_some() => self.gpu.add_line(words),
            Some(first) => Err(format!("there is no machine `{first}`; they are {}", machines().join(", "))),
        }
    }
}

fn machines() -> Vec<&'static str> {
    IsaLevel::ALL.map(IsaLevel::name).into_iter().chain(Arch::ALL.map(Arch::name)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_line_is_named() {
        let right = "# measured\n\nsm_90a w4a8s_x1 64x128 1 group 1 1 1 1 4 1 4 2 # fast\navx2 w4a8s_x1 64x128 1 unpack 3.5\n";
        let table = Tuning::parse(right).unwrap();
        assert_eq!((table.gpu.len(), table.cpu.len()), (1, 1));
        let wrong = ["sm_90 w4a8s_x1", "sm_80 w4a8s_x1 64x128 1 group 1 1 1 1 4 1 4 2", "avx2 w4a8s_x1 64x128 1 group 1"];
        let said = Tuning::parse(&format!("{right}{}\n", wrong.join("\n"))).unwrap_err().within("table").to_string();
        assert!(said.contains("table:5") && said.contains("no machine `sm_90`; they are neon, x86-64"), "{said}");
        assert!(said.contains("table:6") && said.contains("sm_80 has no group products"), "{said}");
        assert!(said.contains("table:7") && said.contains("no strategy `group`"), "{said}");
    }
}
