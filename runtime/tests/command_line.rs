//! `mokume-run` as a user meets it: results, and what is said when a file, an input or an option is wrong.
#![allow(clippy::unwrap_used, reason = "a test")]

use mokume_ir::constant::Constant;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::loc::Loc;
use mokume_ir::op::{BinaryKind, Op};
use mokume_ir::types::{Elem, Shape, Type};
use mokume_runtime::program::Program;
use mokume_runtime::tensor::Tensor;
use mokume_runtime::{artifact, npy};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// `sum = x + b`, x with 4 columns.
fn program() -> Program {
    let mut module = Module::new("sample");
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let ty = Type::tensor([Dim::symbol("rows"), 4i64.into()].into_iter().collect::<Shape>(), Elem::F32);
    let x = editor.add_input("x", ty.clone());
    let b = editor.constant_value(Constant::f32s(&[4], &[1.0, 2.0, 3.0, 4.0]));
    let sum = editor.insert_typed(Op::Binary(BinaryKind::Add), &[x, b], vec![ty], Loc::name("add"));
    let sum = editor[sum].outputs[0];
    editor.add_output("sum", sum);
    Program::interpret(module)
}

fn desk() -> TempDir {
    let desk = tempfile::tempdir().unwrap();
    artifact::write(&program(), &desk.path().join("m.mok")).unwrap();
    let put = |name: &str, tensor: &Tensor| fs::write(desk.path().join(name), npy::write(tensor).unwrap()).unwrap();
    put("x.npy", &Tensor::f32s(&[2, 4], &[0.5; 8]));
    put("narrow.npy", &Tensor::f32s(&[2, 3], &[0.5; 6]));
    put("whole.npy", &Tensor::i64s(&[2, 4], &[1; 8]));
    fs::write(desk.path().join("broken.npy"), "no tensor").unwrap();
    let mut future = fs::read(desk.path().join("m.mok")).unwrap();
    future[8..12].fill(0xff);
    fs::write(desk.path().join("future.mok"), future).unwrap();
    desk
}

/// The version of artifacts.
fn version(desk: &TempDir) -> u32 {
    let file = fs::read(desk.path().join("m.mok")).unwrap();
    u32::from_le_bytes(file[8..12].try_into().unwrap())
}

/// Exit code, stdout and stderr.
fn run(desk: &TempDir, line: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mokume-run"));
    let output = command.current_dir(desk.path()).args(line.split_whitespace()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn outputs_are_described_or_written() {
    let desk = desk();
    let (code, described, _) = run(&desk, "m.mok -i x=@x.npy");
    assert_eq!(code, Some(0));
    assert!(described.starts_with("sum: "), "{described}");
    assert_eq!(run(&desk, "m.mok -i x=@x.npy -o out --trace trace.json --threads 2").0, Some(0));
    let sum = npy::read(&fs::read(desk.path().join("out/sum.npy")).unwrap()).unwrap();
    assert_eq!(sum.slice::<f32>(), [1.5, 2.5, 3.5, 4.5, 1.5, 2.5, 3.5, 4.5]);
    assert!(fs::read_to_string(desk.path().join("trace.json")).unwrap().contains("\"loc\":\"\\\"add\\\"\""));
    let (code, timed, said) = run(&desk, "m.mok --random --dim rows=3 --repeat 2");
    assert_eq!(code, Some(0));
    assert!(timed.contains("median of 2: ") && said.starts_with("random x: "), "{timed}{said}");
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    let desk = desk();
    for (line, code, said) in [
        ("mm.mok --random", 1, "error[file::missing]: there is no file mm.mok\n  help: did you mean m.mok?\n"),
        (". --random", 1, "error[file::unreadable]: cannot read .: it is a folder\n  help: give a file that you may read\n"),
        (
            "x.npy",
            1,
            "error[artifact::magic]: this is not a mokume artifact: the first 8 bytes are wrong\n  at: x.npy\n  \
             help: compile a model with: mokume compile model.onnx -o model.mok\n",
        ),
        (
            "future.mok --random",
            2,
            "error[artifact::version]: the artifact has version 4294967295, newer than VERSION, which this program reads\n  \
             at: future.mok\n  help: compile the model again, or update mokume\n",
        ),
        ("m.mok --randon", 1, "error[run::usage]: there is no option --randon\n  help: did you mean --random?\n"),
        ("m.mok --zzzzzz", 1, "error[run::usage]: there is no option --zzzzzz\n  help: mokume-run --help\n"),
        ("m.mok --threads many", 1, "error[run::usage]: --threads many must be a number\n  help: mokume-run --help\n"),
        (
            "m.mok --random --threads 100000",
            1,
            "error[run::threads]: 100000 threads are too many: at most 1024 are\n  help: --threads 0 takes one per core\n",
        ),
        ("m.mok --dim rows", 1, "error[run::usage]: --dim rows must be NAME=SIZE\n  help: mokume-run --help\n"),
        ("m.mok -i x.npy", 1, "error[run::usage]: -i x.npy must be NAME=@FILE.npy\n  help: mokume-run --help\n"),
        ("m.mok -i", 1, "error[run::usage]: -i needs a value\n  help: mokume-run --help\n"),
        ("m.mok n.mok", 1, "error[run::usage]: one model at a time: n.mok is too many\n  help: mokume-run --help\n"),
        ("--random", 1, "error[run::usage]: which model?\n  help: mokume-run --help\n"),
        (
            "m.mok",
            1,
            "error[run::input::missing]: input \"x\" is missing: it expects tensor<rows x 4 x f32>\n  \
             help: give it with -i x=@FILE.npy, or let --random make it up\n",
        ),
        (
            "m.mok -i X1=@x.npy",
            1,
            "error[run::input::unknown]: there is no input \"X1\"\n  help: did you mean \"x\"? the inputs are \"x\": tensor<rows x 4 x f32>\n",
        ),
        (
            "m.mok -i x=@narrow.npy",
            1,
            "error[run::input::shape]: input \"x\" expects tensor<rows x 4 x f32>, got tensor<2 x 3 x f32>: axis 1 must be 4\n",
        ),
        ("m.mok -i x=@whole.npy", 1, "error[run::input::dtype]: input \"x\" expects tensor<rows x 4 x f32>, got tensor<2 x 4 x i64>\n"),
        (
            "m.mok -i x=@broken.npy",
            1,
            "error[tensor::broken]: broken.npy is not a tensor file: it does not start as a .npy file\n  \
             help: write it with numpy.save\n",
        ),
        (
            "m.mok -i x=@x.npy -o x.npy",
            1,
            "error[file::unwritable]: cannot make the folder x.npy: a file is in its place\n  help: choose another folder\n",
        ),
        (
            "m.mok -i x=@x.npy --trace no/trace.json",
            1,
            "error[file::unwritable]: cannot write no/trace.json: there is no folder no\n  help: mkdir -p no\n",
        ),
    ] {
        let (found, _, stderr) = run(&desk, line);
        let stderr = stderr.replace(&format!("newer than {}", version(&desk)), "newer than VERSION");
        assert_eq!((found, stderr.as_str()), (Some(code), said), "mokume-run {line}");
    }
}
