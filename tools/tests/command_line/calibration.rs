//! Calibration data on the command line: every kind of file, and what is said when it does not fit.

use crate::desk::{Desk, conv_model, small_model};
use crate::eval::{REPEATER, TOKENIZER};
use mokume_runtime::tensor::Tensor;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.put("lm.gir", REPEATER);
    desk.put("tokenizer.json", TOKENIZER);
    desk.put("text.txt", "a a a b b b c c c a b c a\n");
    desk.put("tokens.bin", [0, 0, 1, 0, 2, 0, 1, 0]);
    desk.put("tokens.jsonl", "[0, 1, 2]\n{\"tokens\": [2, 1]}\n{\"text\": \"a b\"}\n");
    desk.put_tensor("tokens.npy", &Tensor::i64s(&[2, 3], &[0, 1, 2, 2, 1, 0]));
    desk.put("conv.onnx", conv_model());
    desk.put("model.onnx", small_model());
    desk
}

#[test]
fn language_models_take_text_and_tokens_of_every_kind() {
    let desk = desk();
    for data in ["text.txt", "tokens.bin", "tokens.jsonl", "tokens.npy"] {
        let line = format!("-q opt lm.gir -o out.gir -p dce --calib {data} --tokenizer tokenizer.json --calib-window 3");
        let output = desk.mokume(&line);
        assert!(output.status.success(), "{data}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(desk.mokume("-q opt lm.gir -o out.gir -p dce --tokenizer tokenizer.json").status.success());
}

#[test]
fn data_that_do_not_fit() {
    let desk = desk();
    std::fs::create_dir(desk.path("folder")).unwrap();
    desk.put("folder/picture.png", "no picture");
    std::fs::create_dir(desk.path("empty")).unwrap();
    let reports = [
        "-q opt lm.gir -p dce --calib text.txt",
        "-q opt lm.gir -p dce --calib text.txt --tokenizer tokenizer.json --calib-window 3 --calib-samples 9",
        "-q opt lm.gir -p dce --calib tokens.bin --calib-tokens u32 --calib-part 0:0.1",
        "-q opt lm.gir -p dce --calib tokens.bin --calib-part 0.6",
        "-q opt lm.gir -p dce --calib folder",
        "-q opt lm.gir -p dce --calib empty",
        "-q compile model.onnx -o m.mok --calib tokens.bin",
        "-q compile model.onnx -o m.mok --calib folder",
        "-q compile conv.onnx -o m.mok --calib folder",
    ]
    .map(|line| desk.report(line));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("calibration_errors", reports.join("\n"));
    });
}
