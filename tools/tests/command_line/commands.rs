//! Commands that work: results on stdout, talk on stderr, JSON where asked for.

use crate::desk::{Desk, small_model};
use mokume_runtime::npy;
use mokume_runtime::tensor::Tensor;
use serde_json::Value;
use std::fs;
use std::process::{Output, Stdio};

fn desk() -> Desk {
    let desk = Desk::new();
    desk.put("model.onnx", small_model());
    desk.put_tensor("x.npy", &Tensor::f32s(&[2, 64], &[0.5; 128]));
    desk
}

/// Stdout of a command that works.
fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_model_runs_alike_in_every_form() {
    let desk = desk();
    stdout(desk.mokume("-q compile model.onnx -o m.mok --preset w8a8 --target native,x86-64"));
    stdout(desk.mokume("-q opt model.onnx -o m.gir --preset w8a8 --dump steps"));
    stdout(desk.mokume("-q run m.mok -i x=@x.npy -o from_mok"));
    stdout(desk.mokume("-q run m.gir --input x=@x.npy --outputs from_gir.npz"));
    let y = npy::read(&fs::read(desk.path("from_mok/y.npy")).unwrap()).unwrap();
    assert_eq!(y.dims(), [2, 32]);
    assert_eq!(desk.json("--json compare m.gir m.mok -i x=@x.npy --max-error 0")["outputs"][0]["cosine"], 1.0);
    assert!(desk.path("steps/01-canonicalize.gir").exists());
    assert_eq!(desk.names(), ["from_gir.npz", "from_mok", "m.gir", "m.mok", "m.safetensors", "model.onnx", "steps", "x.npy"]);
}

#[test]
fn measured_kernels_are_chosen_and_said_to_be_measured() {
    let desk = desk();
    desk.put("tuning.txt", "sm_80 w4a8s_x1_g32 32x64 1 integer 8 1 2 1 1 4 3 2 # fast\n");
    let compiled = desk.json("--json compile model.onnx -o m.mok --preset llm-rtn-w4a8 --target x86-64,sm_80 --tuning tuning.txt");
    let inspected = desk.json("--json inspect m.mok");
    assert_eq!(compiled["device"], inspected["device"]);
    assert_eq!((&inspected["device"][0]["measured"], &inspected["device"][0]["cost_model"]), (&1.into(), &5.into()));
    let first = &inspected["device"][0]["kernels"][0];
    assert_eq!((first["chosen_by"].as_str(), first["rows"].as_u64()), (Some("measured"), Some(1)));
    assert!(first["kernel"].as_str().is_some_and(|kernel| kernel.starts_with("integer w4a8s") && kernel.ends_with("2 parts")), "{first}");
    assert!(stdout(desk.mokume("inspect m.mok")).contains("1 products and counts of rows measured, 5 by the cost model"));
}

#[test]
fn results_are_json_when_asked_for() {
    let desk = desk();
    let compiled = desk.json("--json compile model.onnx -o m.mok --preset w4a8");
    assert!(compiled["bytes_out"].is_u64() && compiled["kernels"].is_array(), "{compiled}");
    let ran = desk.json("--json run m.mok --random --dim rows=3 --repeat 2 --profile --trace trace.json");
    assert_eq!(ran["outputs"][0]["shape"], serde_json::json!([3, 32]));
    assert!(ran["median_ms"].is_number() && ran["ops"][0]["ms"].is_number(), "{ran}");
    let trace: Value = serde_json::from_slice(&fs::read(desk.path("trace.json")).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().is_some_and(|events| !events.is_empty()));
    assert_eq!(desk.json("inspect --json m.mok")["weight_matmuls"], 1);
    assert_eq!(desk.json("inspect --json --canonical model.onnx")["inputs"][0][0], "x");
    assert!(desk.json("passes --json")["presets"].is_array());
    assert!(desk.json("doctor --json").is_array());
    assert!(desk.json("--json compare model.onnx m.mok --random --per-layer")["layers"].is_array());
}

#[test]
fn speed_is_measured_against_the_memory() {
    let desk = desk();
    stdout(desk.mokume("-q compile model.onnx -o m.mok --preset w4a8"));
    let model = desk.json("-q --json bench m.mok --time 0 --profile");
    assert!(model["run_ms"]["median"].as_f64() > Some(0.0) && model["read_gbps"].as_f64() > Some(0.0), "{model}");
    assert!(model["weight_bytes"].as_u64() >= Some(1024) && model["ops"][0]["ms"].is_number(), "{model}");
    let kernels = desk.json("-q --json bench --kernels --shapes 64x128 --pairs w4a8,w3a8 --rows 1,20 --time 0");
    let rows = kernels["kernels"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| (row["m"].as_u64(), row["w"].as_u64())).collect::<Vec<_>>(),
        [(Some(1), Some(4)), (Some(1), Some(3)), (Some(20), Some(4)), (Some(20), Some(3))]
    );
    assert!(rows[1]["to_wider"].is_number() && rows[1]["fraction"].is_number(), "{kernels}");
    assert!(stdout(desk.mokume("-q bench m.mok --time 0")).contains("memory is read at"));
}

#[test]
fn kernels_are_chosen_as_they_were_measured() {
    let desk = desk();
    desk.put("table", "sm_80 some GPU\n");
    stdout(desk.mokume("-q bench --kernels --shapes 64x128 --pairs w2a8 --rows 1,20 --time 0 --copies 1 --tune table"));
    let table = std::fs::read_to_string(desk.path("table")).unwrap();
    let lines: Vec<&str> = table.lines().filter(|line| line.contains(" w2a8s_x1_g64 64x128 ")).collect();
    assert!(table.starts_with("sm_80 some GPU\n# mokume bench"), "{table}");
    assert!(lines.len() == 2 && lines[0].contains(" 1 ") && lines[1].contains(" more ") && lines[0].contains(" # "), "{table}");

    let products = ["w4a8s_x1", "w4a8_x1", "w4a8s_x1_g32", "w4a8_x1_g32", "w4a8s_x1_g64", "w4a8_x1_g64"];
    let measured: String = products.iter().map(|product| format!("avx512 {product} 64x64 1 planes 1.5\n")).collect();
    desk.put("planes", measured);
    let kernels = |options: &str| {
        let compiled = desk.json(&format!("-q --json compile model.onnx -o m.mok --preset w4a8 {options}"));
        compiled["kernels"].as_array().unwrap().iter().map(|kernel| kernel.as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let (by_model, by_table) = (kernels(""), kernels("--tuning planes"));
    assert!(!by_model.is_empty() && by_model.iter().all(|kernel| kernel.ends_with("(cost model)")), "{by_model:?}");
    assert!(by_table.iter().all(|kernel| kernel.contains(" planes ") && kernel.ends_with("(measured)")), "{by_table:?}");
    desk.put("wrong", "avx512 w4a8s_x1 64x64 1 magic 1.5\n");
    assert!(!desk.mokume("-q compile model.onnx -o m.mok --tuning wrong").status.success());
}

#[test]
fn a_dash_is_stdin_and_stdout() {
    let desk = Desk::new();
    let text =
        "module \"m\"\n\ngraph @f0 \"main\"(%0 \"x\": tensor<n x f32>) -> (\"y\") {\n  %1 = neg %0 : tensor<n x f32>\n  return %1\n}\n";
    desk.put("m.gir", text);
    let input = fs::File::open(desk.path("m.gir")).unwrap();
    let output = desk.command("opt - -p dce").stdin(Stdio::from(input)).output().unwrap();
    assert_eq!(stdout(output), text);
    assert_eq!(stdout(desk.mokume("opt m.gir -p dce -o -")), text);
}

#[test]
fn nobody_has_to_read_the_output() {
    let desk = desk();
    for line in ["passes", "completions bash", "inspect model.onnx", "opt model.onnx"] {
        let mut child = desk.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_command_and_shell_has_its_help() {
    let desk = Desk::new();
    for verb in [
        "compile",
        "run",
        "opt",
        "passes",
        "inspect",
        "compare",
        "bench",
        "eval ppl",
        "eval tasks",
        "eval psnr",
        "generate",
        "doctor",
        "demo",
        "completions",
    ] {
        let help = stdout(desk.mokume(&format!("{verb} --help")));
        assert!(help.contains(&format!("Usage: mokume {verb} [OPTIONS]")), "{help}");
    }
    assert!(stdout(desk.mokume("completions zsh")).starts_with("#compdef mokume"));
}
