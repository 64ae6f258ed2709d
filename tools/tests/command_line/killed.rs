//! A compilation that is told to end, or is killed, leaves no output file and what was there before.

use crate::desk::{Desk, deep_model};
use mokume::driver::archive::write_npz;
use mokume_runtime::tensor::Tensor;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const COMPILE: &str = "-q compile m.onnx -o m.mok";

/// Interrupt, terminate: the process may clean up. Kill: it may not.
const SIGNALS: [(i32, &str); 3] = [(2, "INT"), (15, "TERM"), (9, "KILL")];

/// The signals that reach a child: who starts the tests in the background lets all of them ignore an interrupt.
fn signals() -> impl Iterator<Item = (i32, &'static str)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    SIGNALS.into_iter().filter(move |(number, _)| ignored >> (number - 1) & 1 == 0)
}

/// A folder with a model, the artifact it compiles to, and how long that takes.
struct Case {
    desk: Desk,
    complete: Vec<u8>,
    time: Duration,
}

impl Case {
    fn new() -> Self {
        let desk = Desk::new();
        desk.put("m.onnx", deep_model(12, 1024));
        // Other work on the machine makes some slower, so the shortest counts.
        let compile = || {
            let start = Instant::now();
            assert!(desk.mokume(COMPILE).status.success());
            start.elapsed()
        };
        let time = (0..3).map(|_| compile()).min().unwrap_or_default();
        let complete = fs::read(desk.path("m.mok")).unwrap();
        Case { desk, complete, time }
    }
    /// Starts a compilation over nothing, or over an older file.
    fn start(&self, old: bool) -> Child {
        let _ = fs::remove_file(self.desk.path("m.mok"));
        if old {
            self.desk.put("m.mok", "old");
        }
        self.desk.command(COMPILE).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
    /// A process that sends the signal when it has seen the temporary file `looks` times.
    fn watch(&self, child: &Child, signal: &str, looks: u32) -> Child {
        let id = child.id();
        let see = format!("if [ -e \"$f\" ]; then i=$((i+1)); [ $i -ge {looks} ] && kill -{signal} {id} && exit; fi");
        let script = format!("i=0; while kill -0 {id}; do for f in .mokume-*.part; do {see}; done; done");
        self.shell(&script).spawn().unwrap()
    }
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.current_dir(self.desk.path("")).args(["-c", script]).stderr(Stdio::null());
        command
    }
    /// Waits for the end and checks what is left; true when the signal made it.
    fn finish(&self, mut child: Child, (number, name): (i32, &str), old: bool) -> bool {
        let status = child.wait().unwrap();
        assert!(status.success() || status.signal() == Some(number), "{name}: {status}");
        let found = fs::read(self.desk.path("m.mok")).ok();
        match found.as_deref() {
            Some(b"old") => assert!(old && !status.success(), "{name}: the old file stays only when the new one does not come"),
            Some(bytes) => assert!(bytes == self.complete, "{name}: {} of {} bytes", bytes.len(), self.complete.len()),
            None => assert!(!old && !status.success(), "{name}: the file is gone"),
        }
        if number == 9 {
            self.clear_parts();
        }
        let expected: &[&str] = if found.is_some() { &["m.mok", "m.onnx"] } else { &["m.onnx"] };
        assert_eq!(self.desk.names(), expected, "{name}");
        !status.success()
    }
    fn clear_parts(&self) {
        let parts = self.desk.names().into_iter().filter(|name| name.starts_with(".mokume-") && name.ends_with(".part"));
        parts.for_each(|part| fs::remove_file(self.desk.path(&part)).unwrap());
    }
}

#[test]
fn at_any_moment() {
    let case = Case::new();
    for signal in signals() {
        let mut ended = 0;
        for step in 0..6 {
            let old = step % 2 == 1;
            let child = case.start(old);
            sleep(case.time * step / 6);
            // A process that has ended already takes no signal.
            let _ = case.shell(&format!("kill -{} {}", signal.1, child.id())).status();
            ended += usize::from(case.finish(child, signal, old));
        }
        assert!(ended >= 2, "{signal:?} came too late {ended} times");
    }
}

#[test]
fn while_the_file_is_written() {
    let case = Case::new();
    for signal in signals() {
        let mut ended = 0;
        // The file may be complete before the signal comes; then the next attempt shows more.
        for attempt in 0..60 {
            let old = attempt % 2 == 1;
            let child = case.start(old);
            let mut watcher = case.watch(&child, signal.1, 1 + 10 * (attempt % 5));
            ended += usize::from(case.finish(child, signal, old));
            watcher.wait().unwrap();
            if ended == 3 {
                break;
            }
        }
        assert!(ended > 0, "{signal:?}: no file was being written");
    }
}

#[test]
fn what_is_finished_is_kept_and_gives_the_same_bytes() {
    const COMPILE: &str = "-q compile m.onnx -o m.mok --target x86-64 --calib c.npz -p quantize{w=4,a=8,group=32,rounder=measured},fuse";
    let desk = Desk::new();
    desk.put("m.onnx", deep_model(12, 256));
    let values: Vec<f32> = (0..64 * 256).map(|i| (i as f32 * 0.37).sin()).collect();
    write_npz(&desk.path("c.npz"), &[("x0".into(), Tensor::f32s(&[64, 256], &values))]).unwrap();
    let start = Instant::now();
    let output = desk.mokume(COMPILE);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let time = start.elapsed();
    let complete = fs::read(desk.path("m.mok")).unwrap();
    fs::remove_file(desk.path("m.mok")).unwrap();
    for step in 1..5 {
        let mut child = desk.command(&format!("{COMPILE} --checkpoint work")).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        sleep(time * step / 8);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(desk.mokume(&format!("{COMPILE} --checkpoint work")).status.success());
    assert!(fs::read(desk.path("m.mok")).unwrap() == complete);
    let kept =
        fs::read_dir(desk.path("work")).unwrap().filter(|file| !file.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(kept.count(), 12);
}
