#!/usr/bin/env python3
"""What quantization costs a language model, by widths and by method: nats per token over f32, in one table.

    python table.py MOKUME MODEL.onnx TOKENIZER.json TEXT [--windows 40] [--samples 32] [--rows W4A8,W2A8] [--columns RTN,ours]
                    [--work FOLDER] [--markdown FILE]

Calibration sees the first 60 % of the text, the perplexity is that of windows of 512 from the rest, by the artifacts' integer kernels.
Products of blocks have the widths of the row; head and embedding are at 8 bits in every row. Results are kept in FOLDER, one file each, so
that a run that was stopped goes on.
"""

import argparse
import hashlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

CANONICAL = (
    "canonicalize,fold-constants,inline,canonicalize,cse,recognize-norm,recognize-activation,recognize-rotary,"
    "recognize-attention,canonicalize,fold-affine,share-constants,cse,dce"
)
HEAD = 'quantize{w=8,a=8,a_levels=signed}'
END = "cse,fuse,dce"
# What the products of blocks get.
ROWS = {
    "W8A8": {"w": 8, "a": 8},
    "W6A6": {"w": 6, "a": 6},
    "W4A8": {"w": 4, "a": 8, "group": 64},
    "W4A4": {"w": 4, "a": 4, "group": 64},
    "W3A8": {"w": 3, "a": 8, "group": 64},
    "W2A8": {"w": 2, "a": 8, "group": 64, "levels": "odd"},
    "W2*A8": {"w": 3, "a": 8, "group": 64, "levels": "five"},
    "W2A16": {"w": 2, "a": 16, "group": 64, "levels": "odd"},
}
ROTATED = "fold-norm,rotate"


def options(row, **more):
    fields = {"a_levels": "signed", **ROWS[row], **more}
    text = ",".join(f"{name}={json.dumps(value) if isinstance(value, list) else value}" for name, value in fields.items())
    return f"{{{text}}}"


def blocks(row, **more):
    return f"quantize{options(row, skip_head='true', embedding='false', **more)},{HEAD}"


def abq(row, epochs):
    widths = ROWS[row]
    balance = widths.get("levels") == "five"
    fields = {"w": 2 if balance else widths["w"], "a": widths["a"], "group": widths.get("group", 0), "balance": str(balance).lower()}
    return "abq{" + ",".join(f"{name}={value}" for name, value in fields.items()) + f",epochs={epochs}}},{HEAD}"


# The pipeline of a method, between the canonical form and the end.
COLUMNS = {
    "RTN": lambda row, args: blocks(row),
    "SmoothQuant": lambda row, args: "smooth," + blocks(row),
    "ABQ": lambda row, args: abq(row, args.epochs),
    "rotation+GPTQ": lambda row, args: f"{ROTATED}," + blocks(row, rounder="gptq"),
    "ours": lambda row, args: f"{ROTATED}," + blocks(row, rounder="soft"),
}
# Fewer samples, because every one is seen many times.
SAMPLES = {"ABQ": 8}


def run(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate()
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{err}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return json.loads(out), time.monotonic() - start, max(peak, before.ru_maxrss)


def perplexity(args, model):
    command = [args.mokume, "--json", "eval", "ppl", model, "--text", args.text, "--tokenizer", args.tokenizer]
    return run(command + ["--from", "0.6", "--window", "512", "--windows", str(args.windows)])[0]


def compiled(args, pipeline, samples, target):
    command = [args.mokume, "--json", "compile", args.model, "-o", target, "-p", pipeline]
    command += ["--calib", args.text, "--calib-part", "0:0.6", "--calib-samples", str(samples), "--tokenizer", args.tokenizer]
    command += ["--checkpoint", args.work / "checkpoint"]
    return run(command)


def cell(args, row, column):
    pipeline = ",".join([CANONICAL, COLUMNS[column](row, args), END])
    samples = SAMPLES.get(column, args.samples)
    settings = [pipeline, samples, args.windows, os.path.getsize(args.model), os.path.getsize(args.text), os.path.getmtime(args.mokume)]
    kept = args.work / (hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16] + ".json")
    if kept.exists():
        return json.loads(kept.read_text())
    print(f"{row} {column}: {pipeline}", file=sys.stderr)
    target = args.work / "model.mok"
    report, seconds, peak = compiled(args, pipeline, samples, target)
    found = perplexity(args, target)
    result = {"nats": found["nats_per_token"], "error": found["standard_error"], "perplexity": found["perplexity"]}
    result |= {"bytes": target.stat().st_size, "seconds": seconds, "peak_gb": peak / 2**20, "samples": samples, "compile": report}
    partial = kept.with_suffix(".part")
    partial.write_text(json.dumps(result))
    partial.rename(kept)
    target.unlink()
    return result


def baseline(args):
    kept = args.work / f"float-{args.windows}.json"
    if not kept.exists():
        kept.write_text(json.dumps(perplexity(args, args.model)))
    return json.loads(kept.read_text())


def table(args):
    exact = baseline(args)["nats_per_token"]
    yield f"f32: {exact:.5f} nats per token on {args.windows} windows of 512; nats over that, file in MB, seconds to compile:"
    yield ""
    yield "| | " + " | ".join(args.columns) + " |"
    yield "|---" * (1 + len(args.columns)) + "|"
    for row in args.rows:
        cells = [cell(args, row, column) for column in args.columns]
        texts = [f"{c['nats'] - exact:.4f} ({c['bytes'] / 1e6:.1f} MB, {c['seconds']:.0f} s)" for c in cells]
        yield f"| {row} | " + " | ".join(texts) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["mokume", "model", "tokenizer", "text"]:
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20, help="of ABQ's training")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS))
    parser.add_argument("--columns", type=lambda text: text.split(","), default=list(COLUMNS))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".mokume/quality"))
    parser.add_argument("--markdown", type=pathlib.Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    lines = []
    for line in table(args):
        print(line, flush=True)
        lines.append(line)
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
