//! `mokume eval` on models that are small enough to count by hand.

use crate::desk::{Desk, small_model};
use serde_json::Value;

/// Every token is followed by itself with logit 2, by each of the three others with logit 0.
pub const REPEATER: &str = r#"module "repeater"

const @0 : tensor<4 x 4 x f32> = [2.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 2.0]

graph @f0 "main"(%0 "input_ids": tensor<b x s x i64>) -> ("logits") {
  %1 = gather @0, %0 {axis = 0} : tensor<b x s x 4 x f32>
  return %1
}
"#;

/// Words apart at spaces; `<s>` comes before a text.
pub const TOKENIZER: &str = r#"{
  "version": "1.0",
  "added_tokens": [{"id": 3, "content": "<s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
  "pre_tokenizer": {"type": "WhitespaceSplit"},
  "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}},
  "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 2, "<s>": 3}, "unk_token": "c"}
}"#;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.put("lm.gir", REPEATER);
    desk.put("tokenizer.json", TOKENIZER);
    desk.put("text.txt", "a a a b b b c c c a b c a\n");
    desk.put("model.onnx", small_model());
    desk
}

#[test]
fn perplexity_is_the_same_in_every_form() {
    let desk = desk();
    let repeated = (2.0f64.exp() + 3.0).ln() - 2.0;
    let line = "-q --json eval ppl lm.gir --text text.txt --tokenizer tokenizer.json --window 3 --windows 0 --bos none";
    let score = desk.json(line);
    assert_eq!((&score["tokens"], &score["text_tokens"], &score["bos"]), (&8.into(), &13.into(), &Value::Null));
    assert!((score["windows"][0].as_f64().unwrap() - repeated).abs() < 1e-12, "{score}");
    assert!((score["nats_per_token"].as_f64().unwrap() - repeated - 0.5).abs() < 1e-12, "{score}");
    assert!(desk.mokume("-q compile lm.gir -o lm.mok").status.success());
    assert_eq!(desk.json(&line.replace("lm.gir", "lm.mok"))["windows"], score["windows"]);
}

#[test]
fn perplexity() {
    let desk = desk();
    check!(
        "perplexity",
        desk,
        [
            "eval ppl lm.gir --text text.txt --tokenizer tokenizer.json --window 3 --windows 4 --bos none",
            "eval ppl lm.gir --text text.txt --tokenizer tokenizer.json --window 4 --windows 2 --stride 2",
            "-q eval ppl lm.gir --text text.txt --tokenizer tokenizer.json --window 4 --windows 1 --from 0.5 --bos 1",
        ]
    );
}

#[test]
fn perplexity_of_what_does_not_fit() {
    let desk = desk();
    desk.put("latin.txt", b"caf\xe9");
    desk.put("nan.gir", REPEATER.replace("[2.0, 0.0", "[2.0, nan"));
    desk.put("other.json", TOKENIZER.replace("\"c\": 2", "\"c\": 2, \"d\": 4"));
    check!(
        "perplexity_errors",
        desk,
        [
            "-q eval ppl lm.gir --text text.txt --tokenizer tokenizer.json --window 5 --windows 40",
            "-q eval ppl lm.gir --text text.txt --tokenizer tokenizer.json",
            "-q eval ppl lm.gir --text text.txt --tokenizer tokenizer.json --from 0.6 --to 0.3",
            "-q eval ppl lm.gir --text txet.txt --tokenizer tokenizer.json",
            "-q eval ppl lm.gir --text latin.txt --tokenizer tokenizer.json",
            "-q eval ppl lm.gir --text text.txt --tokenizer text.txt",
            "-q eval ppl lm.gir --text text.txt --tokenizer other.json --window 3 --windows 1",
            "-q eval ppl nan.gir --text text.txt --tokenizer tokenizer.json --window 3 --windows 1",
            "-q eval ppl model.onnx --text text.txt --tokenizer tokenizer.json --window 3 --windows 1",
            "-q eval ppl lm.gir --text text.txt --tokenizer tokenizer.json --bos first",
        ]
    );
}

#[test]
fn questions_are_answered_by_the_likeliest_choice() {
    let desk = desk();
    let questions = [
        r#"{"question": "a", "choices": ["a", "b"], "answer": 0}"#,
        r#"{"question": "b", "choices": ["a", "b"], "answer": 0}"#,
        r#"{"question": "c", "choices": ["b", "c c c", "c"], "answer": 1}"#,
    ];
    desk.put("questions.jsonl", questions.join("\n"));
    desk.put("wrong.jsonl", "\n{\"question\": \"a\", \"choices\": [\"a\", \"b\"], \"answer\": 2}\n");
    desk.put("empty.jsonl", "");
    check!(
        "tasks",
        desk,
        [
            "-q eval tasks lm.gir questions.jsonl --tokenizer tokenizer.json --prompt {question}",
            "-q --json eval tasks lm.gir questions.jsonl --tokenizer tokenizer.json --prompt {question} --limit 2",
            "-q eval tasks lm.gir wrong.jsonl --tokenizer tokenizer.json",
            "-q eval tasks lm.gir empty.jsonl --tokenizer tokenizer.json",
        ]
    );
}

/// Every pixel four times, by nearest neighbor.
const ENLARGER: &str = r#"module "enlarger"

graph @f0 "main"(%0 "x": tensor<1 x 1 x h x w x f32>) -> ("y") {
  %1 = reshape %0 {allow_zero = false, shape = [1, 1, h, 1, w, 1]} : tensor<1 x 1 x h x 1 x w x 1 x f32>
  %2 = broadcast %1 {shape = [1, 1, h, 2, w, 2]} : tensor<1 x 1 x h x 2 x w x 2 x f32>
  %3 = reshape %2 {allow_zero = false, shape = [1, 1, 2*h, 2*w]} : tensor<1 x 1 x 2*h x 2*w x f32>
  return %3
}
"#;

fn gray_png(width: u32, pixels: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, pixels.len() as u32 / width);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    file
}

#[test]
fn enlarged_pictures_are_compared() {
    let desk = desk();
    desk.put("enlarger.gir", ENLARGER);
    for folder in ["pairs", "alone", "other"] {
        std::fs::create_dir(desk.path(folder)).unwrap();
        desk.put(&format!("{folder}/dot_LR.png"), gray_png(4, &[10; 16]));
    }
    desk.put("pairs/dot_HR.png", gray_png(8, &[11; 64]));
    desk.put("other/dot_HR.png", gray_png(4, &[11; 16]));
    check!(
        "psnr",
        desk,
        [
            "-q eval psnr enlarger.gir --pairs pairs --range bytes",
            "-q eval psnr enlarger.gir --pairs alone",
            "-q eval psnr enlarger.gir --pairs other",
            "-q eval psnr lm.gir --pairs pairs",
        ]
    );
}
