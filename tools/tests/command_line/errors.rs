//! What a user reads when a file, a pipeline, an input or an option is wrong: rendered text and exit codes.

use crate::desk::{Desk, node, onnx, small_model, value};
use mokume_ir::types::Elem;
use mokume_runtime::tensor::Tensor;

const BAD_TEXT: &str = r#"module "m"

graph @f0 "main"(%0 "x": tensor<n x f32>) -> ("y") {
  %1 = sofmax %0 {axis = 0} : tensor<n x f32>
  return %2
}
"#;

/// A folder with `model.onnx` and tensors for it.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.put("model.onnx", small_model());
    desk.put_tensor("x.npy", &Tensor::f32s(&[2, 64], &[0.5; 128]));
    desk
}

#[test]
fn files_that_are_missing_or_of_no_known_kind() {
    let desk = desk();
    desk.put("notes.txt", "some text");
    check!(
        "files",
        desk,
        [
            "compile modle.onnx -o m.mok",
            "run nothing.mok --random",
            "inspect notes.txt",
            "compile . -o m.mok",
            "compile model.onnx -o no/such/folder/m.mok",
            "compile model.onnx -o .",
            "compile model.onnx -o m.bin",
            "opt model.onnx -o m.mok",
            "opt model.onnx -o no/m.gir",
            "run model.onnx --random --outputs no/out.npz",
            "run model.onnx --random -o model.onnx",
        ]
    );
    assert_eq!(desk.names(), ["model.onnx", "notes.txt", "x.npy"]);
}

#[test]
fn tables_of_measurements_that_are_wrong() {
    let desk = desk();
    desk.put("tuning.txt", "# measured\nsm_90 w4a8s_x1 64x128 1\nsm_80 w4a8s_x1 64x128 1 group 1 1 1 1 4 1 4 2\n");
    check!("tuning", desk, ["compile model.onnx -o m.mok --tuning tuning.txt", "compile model.onnx -o m.mok --tuning none.txt"]);
}

#[test]
fn broken_models() {
    let desk = desk();
    let good = small_model();
    desk.put("empty.onnx", "");
    desk.put("text.onnx", "this is not a model");
    desk.put("page.onnx", "<!DOCTYPE html><html><body>404</body></html>");
    desk.put("cut.onnx", &good[..good.len() / 2]);
    desk.put("bad.gir", BAD_TEXT);
    check!(
        "broken_models",
        desk,
        ["inspect empty.onnx", "compile text.onnx -o m.mok", "compile page.onnx -o m.mok", "compile cut.onnx -o m.mok", "opt bad.gir",]
    );
}

#[test]
fn broken_artifacts() {
    let desk = desk();
    assert!(desk.mokume("-q compile model.onnx -o good.mok").status.success());
    let good = std::fs::read(desk.path("good.mok")).unwrap();
    desk.put("empty.mok", "");
    desk.put("text.mok", "this is not an artifact");
    desk.put("cut.mok", &good[..good.len() - 100]);
    let mut future = good.clone();
    future[8..12].fill(0xff);
    desk.put("future.mok", future);
    let mut flipped = good.clone();
    flipped[good.len() - 1] ^= 1;
    desk.put("flipped.mok", flipped);
    let version = u32::from_le_bytes(good[8..12].try_into().unwrap());
    let report = ["empty.mok", "text.mok", "cut.mok", "future.mok", "flipped.mok"].map(|name| desk.report(&format!("run {name} --random")));
    let report = report.join("\n").replace(&format!("{} of {}", good.len() - 100, good.len()), "SOME of ALL");
    let report = report.replace(&format!("newer than {version}"), "newer than VERSION");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("broken_artifacts", report);
    });
    check!("compiled_already", desk, ["compile good.mok -o m.mok"]);
}

#[test]
fn pipelines_and_options() {
    let desk = desk();
    check!(
        "pipelines",
        desk,
        [
            "compile model.onnx -o m.mok -p \"canonicalize,quantize{w=4\"",
            "compile model.onnx -o m.mok -p \"canonicalize,,fuse\"",
            "compile model.onnx -o m.mok -p canonicalise,quantise{w=4},zzz",
            "compile model.onnx -o m.mok -p \"quantize{gruop=32}\"",
            "compile model.onnx -o m.mok -p \"quantize{w=ten,a=99}\"",
            "compile model.onnx -o m.mok -p \"quantize{w=0}\"",
            "compile model.onnx -o m.mok -p \"quantize{levels=even}\"",
            "compile model.onnx -o m.mok -p \"quantize{w=4,w=8}\"",
            "compile model.onnx -o m.mok -p w4a8",
            "compile model.onnx -o m.mok --preset w4b8",
            "compile model.onnx -o m.mok --preset w4a8 -p fuse",
            "compile model.onnx -o m.mok --target axv2",
        ]
    );
    check!(
        "arguments",
        desk,
        [
            "comple model.onnx -o m.mok",
            "compile model.onnx -o m.mok --prest w4a8",
            "compile model.onnx",
            "run model.onnx --random --threads many",
            "run model.onnx --random --threads 100000",
            "run model.onnx --random --dim rows=99999999999999",
            "run model.onnx --input x:x.npy",
            "run model.onnx --random --dim rows=-1",
            "run model.onnx --random --dim row=2",
        ]
    );
    assert_eq!(desk.names(), ["model.onnx", "x.npy"]);
}

#[test]
fn inputs_that_do_not_fit() {
    let desk = desk();
    desk.put_tensor("narrow.npy", &Tensor::f32s(&[2, 63], &[0.5; 126]));
    desk.put_tensor("flat.npy", &Tensor::f32s(&[64], &[0.5; 64]));
    desk.put_tensor("wide.npy", &Tensor::of(&[2, 64], Elem::F64, &[0.5f64; 128]));
    desk.put("broken.npy", "not a tensor");
    desk.put("broken.npz", "not an archive");
    assert!(desk.mokume("-q run model.onnx -i x=@x.npy --outputs y.npz").status.success());
    check!(
        "inputs",
        desk,
        [
            "run model.onnx",
            "run model.onnx -i xx=@x.npy",
            "run model.onnx -i picture=@x.npy",
            "run model.onnx -i x=@x.npy -i x=@x.npy",
            "run model.onnx -i x=@narrow.npy",
            "run model.onnx -i x=@flat.npy",
            "run model.onnx -i x=@wide.npy",
            "run model.onnx -i x=@nothing.npy",
            "run model.onnx -i x=@broken.npy",
            "run model.onnx --inputs y.npz",
            "run model.onnx --inputs broken.npz",
            "compile model.onnx -o m.mok --preset w8a8 --calib y.npz",
            "compile model.onnx -o m.mok --preset w8a8 --calib nothing.npz",
        ]
    );
}

#[test]
fn every_unsupported_node_is_listed() {
    let desk = desk();
    let mut foreign = node("FancyNorm", &["b"], "y");
    foreign.domain = "com.example".into();
    let nodes = vec![node("Frobnicate", &["x"], "a"), node("Sofmax", &["a"], "b"), foreign];
    desk.put("strange.onnx", onnx(nodes, vec![], value("x", &["2"]), value("y", &["2"])));
    check!("unsupported", desk, ["compile strange.onnx -o m.mok", "--json compile strange.onnx -o m.mok"]);
}

#[test]
fn a_check_that_fails() {
    let desk = desk();
    assert!(desk.mokume("-q compile model.onnx -o m.mok --preset w4a4").status.success());
    let passed = desk.mokume("-q compare model.onnx m.mok --random --min-cosine 0.9");
    assert!(passed.status.success());
    let failed = desk.mokume("-q compare model.onnx m.mok --random --min-cosine 0.999999");
    let text = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(3), "{text}");
    assert!(text.starts_with("error[compare::bound]: output \"y\" has cosine 0.9"), "{text}");
    assert!(text.ends_with("\n  help: see which layer loses most with --per-layer\n"), "{text}");
}

#[test]
fn text_generation_without_a_language_model() {
    let desk = desk();
    desk.put("tokenizer.json", "{}");
    check!(
        "generation",
        desk,
        ["generate model.onnx --tokenizer tokenzier.json --prompt hello", "generate model.onnx --tokenizer tokenizer.json --prompt hello",]
    );
}
