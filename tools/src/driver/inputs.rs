//! Inputs of a run: from files, or seeded random values with symbolic sizes set small.

use crate::driver::archive;
use mokume_ir::diag::{Diagnostic, Report, nearest};
use mokume_ir::dim::{Dim, Symbol};
use mokume_ir::graph::Graph;
use mokume_ir::types::{Elem, Type};
use mokume_runtime::memory::Buffer;
use mokume_runtime::session::Session;
use mokume_runtime::tensor::{Tensor, elem_bytes};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where inputs come from.
#[derive(Debug, Clone, Default)]
pub struct InputSpec {
    /// `name=@file` pairs.
    pub files: Vec<(String, PathBuf)>,
    /// An archive of named arrays.
    pub npz: Option<PathBuf>,
    /// Fill what no file gives with seeded random values.
    pub random: bool,
    /// Seed of the random values.
    pub seed: u64,
    /// Sizes of symbols for random values.
    pub sizes: BTreeMap<String, i64>,
}

/// A tensor for every input, and what was assumed.
pub struct Inputs {
    /// Named tensors.
    pub tensors: Vec<(String, Tensor)>,
    /// Sizes that were made up, `symbol = size`.
    pub assumed: Vec<String>,
}

/// Gathers inputs for a session that has not run.
///
/// Errors  when a file is broken, a size is for no symbol, or an archive lacks an array that no other file gives.
pub fn gather(spec: &InputSpec, session: &Session) -> Result<Inputs, Report> {
    let ports = &session.inputs().iter().map(|port| (port.name.clone(), port.ty.clone())).collect::<Vec<_>>();
    check_sizes(spec, ports)?;
    let mut tensors = Vec::new();
    if let Some(path) = &spec.npz {
        tensors.extend(archive::read_npz(path)?);
        let given = spec.files.iter().map(|(name, _)| name.as_str());
        let wanted = ports.iter().filter(|(name, _)| !spec.random && !given.clone().any(|given| given == name));
        check_archive(path, &tensors, wanted)?;
    }
    for (name, path) in &spec.files {
        tensors.push((name.clone(), archive::read_tensor(path)?));
    }
    let mut inputs = Inputs { tensors, assumed: Vec::new() };
    if spec.random {
        fill_random(spec, ports, no_past(session.program().module.main()), &mut inputs)?;
    }
    Ok(inputs)
}

/// Whether an archive holds an array for every port that is `wanted` of it.
///
/// Errors  `run::input::archive`, listing what the archive holds.
pub fn check_archive<'p>(path: &Path, arrays: &[(String, Tensor)], wanted: impl Iterator<Item = &'p (String, Type)>) -> Result<(), Report> {
    let held: Vec<_> = arrays.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let missing = wanted.filter(|(name, _)| arrays.iter().all(|(array, _)| array != name));
    let finding = |(name, ty): &(String, Type)| {
        let message = format!("{} has no array for input \"{name}\", which expects {ty}", path.display());
        let help =
            if held.is_empty() { "it is empty".into() } else { format!("its arrays are {}; name them as the inputs", held.join(", ")) };
        Diagnostic::input("run::input::archive", message).help(help)
    };
    Report::from_findings(missing.map(finding).collect()).map_or(Ok(()), Err)
}

/// `name=@path`
///
/// Errors  `args::input` when it has another form.
pub fn parse_assignment(text: &str) -> Result<(String, PathBuf), Report> {
    match text.split_once("=@") {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.into(), Path::new(path).into())),
        _ => Err(Diagnostic::input("args::input", format!("`{text}` does not say which input takes which file"))
            .help("write -i name=@file.npy")
            .into()),
    }
}

/// `symbol=size`
///
/// Errors  `args::dim` when it has another form.
pub fn parse_size(text: &str) -> Result<(String, i64), Report> {
    text.split_once('=').and_then(|(name, size)| Some((name.to_string(), size.parse().ok().filter(|&s| s >= 0)?))).ok_or_else(|| {
        Diagnostic::input("args::dim", format!("`{text}` does not give a symbol a size"))
            .help("write --dim NAME=SIZE, such as --dim batch=2")
            .into()
    })
}

/// Every size must be for a symbol of the model.
fn check_sizes(spec: &InputSpec, ports: &[(String, Type)]) -> Result<(), Report> {
    let mut known = BTreeSet::new();
    for dim in ports.iter().flat_map(|(_, ty)| ty.dims().unwrap_or(&[])) {
        dim.symbols(&mut |symbol| {
            known.insert(symbol.name().to_string());
        });
    }
    let finding = |name: &String| {
        let near = nearest(name, known.iter().map(String::as_str)).map_or(String::new(), |near| format!("did you mean `{near}`? "));
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        let help = if known.is_empty() { "every size is fixed".into() } else { format!("{near}symbols are {}", known.join(", ")) };
        Diagnostic::input("args::dim", format!("no input has a size `{name}`")).help(help)
    };
    let findings = spec.sizes.keys().filter(|name| !known.contains(*name)).map(finding).collect();
    Report::from_findings(findings).map_or(Ok(()), Err)
}

/// The sizes of state that grows, before the first run.
fn no_past(graph: &Graph) -> BTreeMap<Symbol, i64> {
    let grows = graph.states.iter().filter_map(|state| {
        let dims = graph.ty(graph.inputs()[state.input as usize].value).dims()?;
        dims.get(state.axis? as usize)?.as_symbol().cloned()
    });
    grows.map(|symbol| (symbol, 0)).collect()
}

fn fill_random(spec: &InputSpec, ports: &[(String, Type)], mut sizes: BTreeMap<Symbol, i64>, inputs: &mut Inputs) -> Result<(), Report> {
    sizes.extend(spec.sizes.iter().map(|(name, &size)| (Symbol::new(name), size)));
    bind_given(ports, &inputs.tensors, &mut sizes);
    for (index, (name, ty)) in ports.iter().enumerate() {
        if inputs.tensors.iter().any(|(given, _)| given == name) {
            continue;
        }
        let tensor = random_tensor(name, ty, spec.seed.wrapping_add(index as u64), &mut sizes, &mut inputs.assumed)?;
        inputs.tensors.push((name.clone(), tensor));
    }
    Ok(())
}

/// Sizes that given tensors bind.
fn bind_given(ports: &[(String, Type)], tensors: &[(String, Tensor)], sizes: &mut BTreeMap<Symbol, i64>) {
    for (name, tensor) in tensors {
        let dims = ports.iter().find(|port| port.0 == *name).and_then(|port| port.1.dims());
        for (dim, &size) in dims.unwrap_or(&[]).iter().zip(tensor.dims()) {
            if let Some(symbol) = dim.as_symbol() {
                sizes.insert(symbol.clone(), size as i64);
            }
        }
    }
}

fn random_tensor(name: &str, ty: &Type, seed: u64, sizes: &mut BTreeMap<Symbol, i64>, assumed: &mut Vec<String>) -> Result<Tensor, Report> {
    let unsupported = || Diagnostic::unsupported("run::random", format!("input \"{name}\" of type {ty} has no random values")).into();
    let (Some(dims), Some(elem)) = (ty.dims(), ty.elem()) else { return Err(unsupported()) };
    let dims = dims.iter().map(|dim| size_of(dim, sizes, assumed)).collect::<Option<Vec<_>>>().ok_or_else(unsupported)?;
    let bytes = dims.iter().try_fold(elem_bytes(elem).max(1), |bytes, &dim| bytes.checked_mul(dim));
    if !bytes.is_some_and(Buffer::is_available) {
        let finding = Diagnostic::input("run::random", format!("input \"{name}\" of sizes {dims:?} does not fit in memory"));
        return Err(finding.help("give smaller sizes with --dim").into());
    }
    random_values(&dims, elem, seed).ok_or_else(unsupported)
}

/// The size of `dim`; symbols without one get a small size, which is noted.
fn size_of(dim: &Dim, sizes: &mut BTreeMap<Symbol, i64>, assumed: &mut Vec<String>) -> Option<usize> {
    dim.symbols(&mut |symbol| {
        if !sizes.contains_key(symbol) {
            let size = if symbol.name().contains("batch") { 1 } else { 8 };
            assumed.push(format!("{symbol} = {size}"));
            sizes.insert(symbol.clone(), size);
        }
    });
    dim.eval(&|symbol| sizes.get(symbol).copied()).and_then(|size| usize::try_from(size).ok())
}

/// Seeded values: floats about normal with deviation 1, integers and bools 1.
pub fn random_values(dims: &[usize], elem: Elem, seed: u64) -> Option<Tensor> {
    let mut random = SplitMix(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03);
    let mut tensor = Tensor::zeros(dims, elem);
    match elem {
        Elem::F32 => tensor.slice_mut::<f32>().iter_mut().for_each(|v| *v = random.normal()),
        Elem::F64 => tensor.slice_mut::<f64>().iter_mut().for_each(|v| *v = random.normal().into()),
        Elem::F16 => tensor.slice_mut::<half::f16>().iter_mut().for_each(|v| *v = half::f16::from_f32(random.normal())),
        Elem::I64 => tensor.slice_mut::<i64>().fill(1),
        Elem::I32 => tensor.slice_mut::<i32>().fill(1),
        Elem::U8 | Elem::Bool => tensor.slice_mut::<u8>().fill(1),
        Elem::I8 => tensor.slice_mut::<i8>().fill(1),
        _ => return None,
    }
    Some(tensor)
}

/// A small generator: SplitMix64 (Steele et al. 2014).
pub struct SplitMix(pub u64);

impl SplitMix {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }
    /// About normal, mean 0, deviation 1: twelve uniforms.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use mokume_ir::text::{no_data, parse};
    use mokume_runtime::program::Program;
    use mokume_runtime::session::SessionOptions;
    use std::sync::Arc;

    const WITH_STATE: &str = r#"
module "m"

graph @f0 "main"(%0 "past": tensor<2 x past x f32>, %1 "x": tensor<2 x n x f32>, %2 "mask": tensor<2 x past + n x f32>) -> ("present", "y") state(
  "past" <- "present" axis 1
) {
  %3 = concat %0, %1 {axis = 1} : tensor<2 x past + n x f32>
  %4 = mul %3, %2 : tensor<2 x past + n x f32>
  return %3, %4
}
"#;

    #[test]
    fn a_session_that_has_not_run_has_no_past() {
        let program = Arc::new(Program::interpret(parse(WITH_STATE, &no_data).unwrap()));
        let mut session = Session::new(program, SessionOptions { threads: 1, ..Default::default() }).unwrap();
        let given = gather(&InputSpec { random: true, ..Default::default() }, &session).unwrap();
        assert!(given.assumed.iter().all(|assumed| !assumed.starts_with("past")), "{:?}", given.assumed);
        let outputs = session.run(&given.tensors).unwrap();
        assert_eq!(outputs[0].1.dims(), given.tensors[0].1.dims());
    }
}
