"""A pipeline on a language model, measured: nats per token of the artifact, its bytes, how long compiling took, and how much memory.

Results are kept in a folder, one file each, so that a run that was stopped goes on.
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
HEAD = "quantize{w=8,a=8,a_levels=signed}"
END = "cse,fuse,dce"
WINDOW, CALIBRATION, JUDGED = 512, "0:0.6", "0.6"
# What the products of blocks get.
ROWS = {
    "W8A8": {"w": 8, "a": 8, "a_levels": "signed"},
    "W6A6": {"w": 6, "a": 6},
    "W4A8": {"w": 4, "a": 8, "a_levels": "signed", "group": 64},
    "W4A4": {"w": 4, "a": 4, "group": 64},
    "W4A4 g64": {"w": 4, "a": 4, "group": 64, "a_group": 64},
    "W3A8": {"w": 3, "a": 8, "a_levels": "signed", "group": 64, "levels": "odd"},
    "W2A8": {"w": 2, "a": 8, "a_levels": "signed", "group": 64, "levels": "odd"},
    "W2*A8": {"w": 3, "a": 8, "a_levels": "signed", "group": 64, "levels": "five"},
    "W2A16": {"w": 2, "a": 16, "group": 64, "levels": "odd"},
}


def parser(description, rows):
    """The arguments that all tables share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["mokume", "model", "tokenizer", "text"]:
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--rows", type=lambda text: text.split(","), default=rows)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".mokume/quality"))
    parser.add_argument("--markdown", type=pathlib.Path)
    return parser


def blocks(row, **more):
    """The pass that rounds what the blocks of `row` compute, and the one for the head."""
    fields = {**ROWS[row], "skip_head": "true", "embedding": "false", **more}
    return "quantize{" + ",".join(f"{name}={value}" for name, value in fields.items()) + f"}},{HEAD}"


def run(command):
    """What a command prints as JSON, its seconds, and the most memory in kB that a command took so far."""
    start = time.monotonic()
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{process.stderr}")
    return json.loads(process.stdout), time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def perplexity(args, model):
    command = [args.mokume, "--json", "eval", "ppl", model, "--text", args.text, "--tokenizer", args.tokenizer]
    return run(command + ["--from", JUDGED, "--window", str(WINDOW), "--windows", str(args.windows)])[0]


def compiled(args, pipeline, samples, seed, target):
    command = [args.mokume, "--json", "compile", args.model, "-o", target, "-p", pipeline, "--checkpoint", args.work / "checkpoint"]
    command += ["--calib", args.text, "--calib-part", CALIBRATION, "--calib-samples", str(samples), "--calib-seed", str(seed)]
    return run(command + ["--tokenizer", args.tokenizer])


def cell(args, middle, samples, seed=0):
    """What is found of the passes `middle`, between the canonical form and the end."""
    pipeline = ",".join([CANONICAL, middle, END])
    settings = [pipeline, samples, seed, args.windows, *(os.path.getsize(path) for path in (args.model, args.text)), os.path.getmtime(args.mokume)]
    kept = args.work / (hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16] + ".json")
    if kept.exists():
        return json.loads(kept.read_text())
    print(f"seed {seed}: {middle}", file=sys.stderr, flush=True)
    target = args.work / "model.mok"
    report, seconds, peak = compiled(args, pipeline, samples, seed, target)
    found = perplexity(args, target)
    result = {"nats": found["nats_per_token"], "error": found["standard_error"], "perplexity": found["perplexity"]}
    result |= {"bytes": target.stat().st_size, "seconds": seconds, "peak_gb": peak / 2**20, "samples": samples, "compile": report}
    keep(kept, result)
    target.unlink()
    return result


def keep(path, result):
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(result))
    partial.rename(path)


def baseline(args):
    """Nats per token of the float model."""
    kept = args.work / f"float-{args.windows}.json"
    if not kept.exists():
        keep(kept, perplexity(args, args.model))
    return json.loads(kept.read_text())["nats_per_token"]


def print_lines(args, lines):
    """Prints lines as they come; all of them also go to the file that was asked for."""
    args.work.mkdir(parents=True, exist_ok=True)
    printed = []
    for line in lines:
        print(line, flush=True)
        printed.append(line)
    if args.markdown:
        args.markdown.write_text("\n".join(printed) + "\n")
