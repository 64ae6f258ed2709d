//! `mokume demo`: PP-OCR reads a picture at f32, W8A8 and W4A8, side by side.

use crate::cli::compile::use_threads;
use crate::cli::options;
use crate::cli::talk::Talk;
use crate::demo::{detect, read};
use crate::driver::compare::difference;
use crate::driver::picture::Picture;
use crate::driver::pipelines::{self, PipelineOptions};
use crate::driver::{archive, compile, source};
use crate::report::table::{Table, bytes};
use mokume_ir::diag::Report;
use mokume_runtime::artifact;
use mokume_runtime::file;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

const LINES: [&str; 3] = ["Every bit removed", "becomes measured speed", "mokume 2026: W4A8"];
const RUNS: usize = 9;

/// Read a picture with PP-OCR at three precisions
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Folder with ppocr_det.onnx and ppocr_rec.onnx
    #[arg(long, value_name = "DIR")]
    pub models: PathBuf,
    /// Keep the compiled artifacts in this folder
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// One precision: what it costs and what it reads.
#[derive(Serialize)]
struct Row {
    precision: &'static str,
    bytes: u64,
    detect_ms: f64,
    read_ms: f64,
    text: Vec<String>,
    cosine_detect: f64,
    cosine_read: f64,
}

/// What the f32 models computed; the other precisions are compared with it.
struct Reference {
    map: Tensor,
    lines: Vec<Picture>,
    classes: Vec<Tensor>,
}

/// Runs the verb.
///
/// Errors  when a model is missing or does not compile.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    use_threads(talk);
    let scratch = tempfile::tempdir().map_err(|e| file::unwritable(Path::new("a temporary folder"), &e))?;
    let folder = args.keep.as_deref().unwrap_or(scratch.path());
    file::make_folder(folder)?;
    let picture = draw();
    let calibration = Calibration::write(folder, &picture)?;
    let mut reference = None;
    let mut rows = Vec::new();
    for precision in ["float", "w8a8", "w4a8"] {
        talk.say(format!("compiling at {precision}"));
        rows.push(judge(precision, args, folder, &picture, &calibration, &mut reference, talk)?);
    }
    let table = text(&rows);
    talk.result(&rows, table);
    Ok(())
}

fn draw() -> Picture {
    let mut picture = Picture::white(640, 224);
    for (index, line) in LINES.iter().enumerate() {
        picture.draw_text(line, 40.0, 60.0 + 64.0 * index as f32, 44.0);
    }
    picture
}

/// Calibration data for both models: another text in another place, so that the judged picture stays unseen.
struct Calibration {
    detect: PathBuf,
    read: PathBuf,
}

impl Calibration {
    fn write(folder: &Path, like: &Picture) -> Result<Self, Report> {
        let mut picture = Picture::white(like.width, like.height);
        picture.draw_text("calibrate on other words", 20.0, 90.0, 40.0);
        picture.draw_text("0123456789 abc XYZ", 90.0, 180.0, 52.0);
        let calibration = Calibration { detect: folder.join("calib_det.npz"), read: folder.join("calib_rec.npz") };
        archive::write_npz(&calibration.detect, &detect::input(&picture))?;
        let line = picture.crop(crate::driver::picture::Rect { x: 10, y: 50, width: 600, height: 54 });
        archive::write_npz(&calibration.read, &read::input(&line))?;
        Ok(calibration)
    }
}

fn judge(
    precision: &'static str,
    args: &Args,
    folder: &Path,
    picture: &Picture,
    calibration: &Calibration,
    reference: &mut Option<Reference>,
    talk: &Talk,
) -> Result<Row, Report> {
    let alphabet = alphabet(&args.models)?;
    let (mut detector, detector_bytes) = build(&args.models.join("ppocr_det.onnx"), precision, folder, &calibration.detect, talk)?;
    let (mut reader, reader_bytes) = build(&args.models.join("ppocr_rec.onnx"), precision, folder, &calibration.read, talk)?;
    let (map, detect_ms) = timed(|| detect::probabilities(&mut detector, picture))?;
    let lines: Vec<Picture> = detect::boxes(&map, picture).into_iter().map(|rect| picture.crop(rect)).collect();
    let mut text = Vec::new();
    let mut read_ms = 0.0;
    let mut own = Vec::new();
    for line in &lines {
        let (classes, ms) = timed(|| read::classes(&mut reader, line, &alphabet))?;
        read_ms += ms;
        text.push(read::decode(&classes, &alphabet));
        own.push(classes);
    }
    let reference = reference.get_or_insert_with(|| Reference { map: map.clone(), lines, classes: own });
    let cosine_read = reference.lines.iter().zip(&reference.classes).try_fold(1.0f64, |worst, (line, expected)| {
        let got = read::classes(&mut reader, line, &alphabet)?;
        Ok::<_, Report>(worst.min(cosine(expected, &got)))
    })?;
    let cosine_detect = cosine(&reference.map, &map);
    Ok(Row { precision, bytes: detector_bytes + reader_bytes, detect_ms, read_ms, text, cosine_detect, cosine_read })
}

fn cosine(expected: &Tensor, got: &Tensor) -> f64 {
    difference("", expected, got).map_or(0.0, |d| d.cosine)
}

fn alphabet(models: &Path) -> Result<Vec<String>, Report> {
    let path = models.join("ppocr_rec.onnx");
    options::existing(&path)?;
    let properties = mokume_frontends::onnx::metadata(&path)?;
    let characters = properties.into_iter().find(|(key, _)| key == "character").map(|(_, value)| value).unwrap_or_default();
    Ok(read::alphabet(&characters))
}

/// Compiles a model at a precision and opens the artifact; its size in bytes.
fn build(model: &Path, precision: &str, folder: &Path, calibration: &Path, talk: &Talk) -> Result<(Session, u64), Report> {
    options::existing(model)?;
    let mut module = source::open_graph(model)?;
    let options =
        PipelineOptions { calibration: crate::driver::calibration::Calibration::of(vec![calibration.into()]), ..Default::default() };
    pipelines::apply(&mut module, &compile::pipeline(None, Some(precision))?, &options, &mut |_, _, _| {})?;
    let name = model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let path = folder.join(format!("{name}.{precision}.mok"));
    let size = compile::write_artifact(module, &compile::target("native")?, &path)?.bytes;
    let program = artifact::read(&path, &artifact::ReadOptions::default())?;
    let session = Session::new(Arc::new(program), SessionOptions { threads: talk.thread_count(), ..Default::default() })?;
    Ok((session, size))
}

/// The result and the median time in milliseconds, after one run to warm up.
fn timed<T>(mut work: impl FnMut() -> Result<T, Report>) -> Result<(T, f64), Report> {
    let mut last = work()?;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        last = work()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((last, times[RUNS / 2]))
}

fn text(rows: &[Row]) -> String {
    let mut table = Table::new(["precision", "on disk", "detect ms", "read ms", "cosine detect", "cosine read", "text"]);
    for row in rows {
        table.row([
            row.precision.to_string(),
            bytes(row.bytes as usize),
            format!("{:.1}", row.detect_ms),
            format!("{:.1}", row.read_ms),
            format!("{:.5}", row.cosine_detect),
            format!("{:.5}", row.cosine_read),
            row.text.join(" | "),
        ]);
    }
    format!("drawn: {}\n{table}", LINES.join(" | "))
}
