//! The text form: what is printed reads back equal, and what is wrong is said where.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use mokume_ir::constant::{Constant, QuantData};
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::loc::Loc;
use mokume_ir::op::{BinaryKind, Op};
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::text::{no_data, parse, print, sidecar};
use mokume_ir::types::{Elem, Shape, Type};

const TINY: &str = r#"module "tiny"

const @0 : tensor<2 x f32> = [0.5, 1e-5]
const @1 : tensor<3 x i64> = [1, -2, 9223372036854775807]
const @2 : tensor<f32> = nan
const @3 : tensor<2 x string> = ["a\n", "\"é\""]
const @4 : tensor<1 x 3 x !quant<4, signed, axis(0), zero_point>> = [1, 15, 7] scales [0.25] zero_points [-3]
const @5 : tensor<2 x c64> = [1.0, 0.0, -inf, 0x7fc00001]
const @6 : tensor<3 x i4> = [-8, 7, 0]
const @7 : tensor<2 x f8e4m3fn> = [0x7f, 0x1]
const @8 : tensor<2 x f16> = [1.5, 6e-8]
const @9 : tensor<1 x 3 x !quant<4, signed, row(2)>> = [1, 15, 7] scales [0.25, 0.5]

graph @f0 "main"(%0 "x": tensor<"batch size" x 2*past + seq x f32>, %1 "past": tensor<?3 x f32>) -> ("y", "") state("past" <- "y" axis 0) {
  %2 = add %0, @0 : tensor<"batch size" x max(1, h) x f32> loc("a", "b")
  %3, %4 = split %2 {axis = 1, sizes = [2, floordiv(h + 1, 2)]} : (tensor<2 x f32>, seq<opt<tensor<* x f32>>>)
  %5 = reshape %3, @1 {shape = operand(1), allow_zero = false} : tensor<* x f32>
  %6 = call %5, @2, @3, @4, @5, @6, @7, @8, @9 {function = @f1} : tensor<f32>
  %7 = iota {len = "x", elem = i64} : tensor<"x" x i64>
  %8 = clip %7, %4 : tensor<f32>
  return %6, @2
}

graph @f1 "inner\u{1}"() -> () {
  return
}
"#;

fn reparse(text: &str) -> Module {
    parse(text, &no_data).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn canonical_text_prints_back_equal() {
    let text = TINY.replace("  %8 = clip %7, %4 : tensor<f32>\n", "");
    assert_eq!(print(&reparse(&text)), text);
}

#[test]
fn errors_are_placed_and_several() {
    let text = TINY.replace("return %6", "return %99").replace("axis = 1", "axes = 1").replace("%0, @0", "%0, @77");
    let report = parse(&text, &no_data).unwrap_err().to_string();
    for part in
        ["text::op::unknown", "there is no op `clip`", "text::attr::unknown", "`@77` is not defined above", "`%99` is not", "at: 21:10"]
    {
        assert!(report.contains(part), "{part} is not in\n{report}");
    }
    assert!(!report.contains("%3"), "a consequence is reported:\n{report}");
}

#[test]
fn hostile_nesting_is_refused() {
    for (open, rest) in [("seq<", ""), ("min(", "")] {
        let text =
            format!("module \"m\"\ngraph @f0 \"g\"(%0 \"x\": {}{}", if open == "min(" { "tensor<" } else { "" }, open.repeat(100_000));
        assert!(parse(&(text + rest), &no_data).unwrap_err().to_string().contains("text::limit::nesting"));
    }
    let text = format!("module \"m\"\ngraph @f0 \"g\"() -> () {{\n concat {{axis = {}", "[".repeat(100_000));
    assert!(parse(&text, &no_data).unwrap_err().to_string().contains("text::limit::nesting"));
    let huge = "module \"m\"\nconst @0 : tensor<99999999999 x f32> = [1.0]\ngraph @f0 \"g\"() -> () { return }";
    assert!(parse(huge, &no_data).unwrap_err().to_string().contains("1 elements are given where the type has 99999999999"));
}

fn with_constants() -> Module {
    let mut module = Module::new("weights");
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let large = Constant::f32s(&[5, 5], &(0..25).map(|i| i as f32).collect::<Vec<_>>());
    let quant = QuantType { bits: 3, levels: Levels::Odd, granularity: Granularity::Axis(0), zero_point: false };
    let data = QuantData { scales: Bytes::from([0, 0, 128, 63].repeat(3)), zero_points: Bytes::new() };
    let quantized = Constant::with_quant(&[3, 7], Elem::Quant(quant), Bytes::from([1, 2, 3].repeat(3)), Some(data));
    let nibbles = Constant::new(&[33], Elem::U4, Bytes::from(vec![0x21; 17]));
    for constant in [large, quantized, nibbles, Constant::i64s(&[], &[7])] {
        let name = constant.ty.to_string();
        let value = editor.constant_value(constant);
        editor.add_output(name, value);
    }
    module
}

#[test]
fn large_constants_live_in_the_sidecar() {
    let module = with_constants();
    let text = print(&module);
    let file = sidecar::write(&module).to_bytes();
    let weights = sidecar::read(file.into()).unwrap();
    let back = parse(&text, &|hash| weights.get(hash)).unwrap();
    assert_eq!(module.difference(&back), None);
    assert_eq!(print(&back), text);
    let missing = parse(&text, &no_data).unwrap_err();
    assert_eq!(missing.findings().len(), 3);
    assert!(missing.to_string().contains("text::constant::missing"));
}

#[test]
fn data_that_was_changed_is_refused() {
    let module = with_constants();
    let mut file = sidecar::write(&module).to_bytes();
    *file.last_mut().unwrap() ^= 1;
    let weights = sidecar::read(file.into()).unwrap();
    let report = parse(&print(&module), &|hash| weights.get(hash)).unwrap_err().to_string();
    assert!(report.contains("text::constant::hash"), "{report}");
}

#[test]
fn printing_does_not_depend_on_ids() {
    let build = |swap: bool| {
        let mut module = Module::new("m");
        let entry = module.entry;
        let mut editor = Editor::new(&mut module, entry);
        let ty = Type::tensor(Shape::Ranked(vec![Dim::symbol("n")]), Elem::F32);
        let x = editor.add_input("x", ty.clone());
        let node = |editor: &mut Editor<'_>, kind, a, b| {
            let id = editor.insert_typed(Op::Binary(kind), &[a, b], vec![ty.clone()], Loc::default());
            editor[id].outputs[0]
        };
        let (a, b) = if swap {
            let b = node(&mut editor, BinaryKind::Mul, x, x);
            (node(&mut editor, BinaryKind::Add, x, x), b)
        } else {
            let a = node(&mut editor, BinaryKind::Add, x, x);
            (a, node(&mut editor, BinaryKind::Mul, x, x))
        };
        let sum = node(&mut editor, BinaryKind::Sub, a, b);
        editor.add_output("y", sum);
        module
    };
    assert_eq!(print(&build(false)), print(&build(true)));
    assert!(build(false).same(&build(true)));
}
