//! `mokume compile --report`: the page holds what it should and asks for nothing else.

use crate::desk::{Desk, conv_model, deep_model};
use crate::eval::{REPEATER, TOKENIZER};

fn page(desk: &Desk, line: &str) -> String {
    let output = desk.mokume(&format!("-q compile {line} -o m.mok --report page.html"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(desk.path("page.html")).unwrap();
    for foreign in ["http:", "https:", "<script", "<link", "<img", "url(", "@import", "NaN"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    page
}

#[test]
fn layers_have_sizes_bits_and_errors() {
    let desk = Desk::new();
    desk.put("deep.onnx", deep_model(4, 64));
    desk.put("conv.onnx", conv_model());
    let deep = page(&desk, "deep.onnx --preset w4a8");
    assert_eq!(deep.matches("<svg").count(), 2);
    assert!(deep.contains("the_p0") && deep.contains("random inputs") && deep.contains("quantize{"), "{deep}");
    assert!(deep.matches("SQNR dB").count() == 1 && deep.contains("bits per weight"), "{deep}");
    assert!(page(&desk, "conv.onnx --preset w8a8").contains("bit_conv"));
}

#[test]
fn a_text_gives_perplexity_before_and_after() {
    let desk = Desk::new();
    desk.put("lm.gir", REPEATER);
    desk.put("tokenizer.json", TOKENIZER);
    desk.put("text.txt", "a b c ".repeat(400));
    let text = "--tokenizer tokenizer.json --calib text.txt --report-text text.txt --report-windows 2 --report-part 0.1:1";
    let page = page(&desk, &format!("lm.gir -p dce {text}"));
    assert!(page.contains("perplexity before") && page.contains("the first calibration data"), "{page}");
    assert!(page.contains("+0.00000 nats per token"), "{page}");
}

#[test]
fn a_report_that_cannot_be_written_is_told_first() {
    let desk = Desk::new();
    desk.put("deep.onnx", deep_model(1, 64));
    let report = desk.report("-q compile deep.onnx -o m.mok --report no/page.html");
    assert!(report.contains("exit 1") && report.contains("no/page.html"), "{report}");
    assert!(desk.report("-q compile deep.onnx -o m.mok --report-text a.txt").contains("--report <FILE.html>"));
    assert_eq!(desk.names(), ["deep.onnx"]);
}
