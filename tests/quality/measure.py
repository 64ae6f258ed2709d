"""Pipelines, measured: what a command prints, the processor time and the memory that it takes, and results that are kept so that a run that was stopped goes on."""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

CANONICAL = (
    "canonicalize,fold-constants,inline,canonicalize,cse,recognize-norm,recognize-activation,recognize-rotary,"
    "recognize-attention,canonicalize,fold-affine,share-constants,cse,dce"
)
END = "cse,fuse,dce"


def step(name, **options):
    """A pass of a pipeline."""
    return name + "{" + ",".join(f"{option}={str(value).lower()}" for option, value in options.items()) + "}"


def quantize(**options):
    return step("quantize", **options)


def names(text):
    return text.split(",")


def parser(description, rows):
    """The arguments that all tables share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mokume", type=pathlib.Path)
    parser.add_argument("--rows", type=names, default=list(rows))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".mokume/quality"))
    parser.add_argument("--markdown", type=pathlib.Path)
    return parser


def run(command):
    """What a command prints, its processor seconds, and the most memory that it had, in GB."""
    command = [str(part) for part in command]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            sys.exit(f"{' '.join(command)}\n{errors.read()}")
    return printed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def compiled(args, model, middle, calibration, target):
    """Compiles with the passes `middle` between the canonical form and the end; gives what that took and what it says."""
    command = [args.mokume, "--json", "compile", model, "-o", target, "-p", ",".join([CANONICAL, middle, END]), *calibration]
    report, seconds, peak = run([*command, "--checkpoint", args.work / "checkpoint"])
    return {"seconds": seconds, "peak_gb": peak, "bytes": target.stat().st_size, "compile": json.loads(report)}


def kept(args, name, settings, measure):
    """What `measure` gives, from a file if it was measured before with the same settings."""
    settings = json.dumps([name, *settings, os.path.getmtime(args.mokume)], default=str)
    file = args.work / (hashlib.sha256(settings.encode()).hexdigest()[:16] + ".json")
    if not file.exists():
        print(name, file=sys.stderr, flush=True)
        args.work.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".part")
        partial.write_text(json.dumps({"name": name, "found": measure()}))
        partial.rename(file)
    return json.loads(file.read_text())["found"]


def print_lines(args, lines):
    """Prints lines as they come; all of them also go to the file that was asked for."""
    args.work.mkdir(parents=True, exist_ok=True)
    printed = []
    for line in lines:
        print(line, flush=True)
        printed.append(line)
    if args.markdown:
        args.markdown.write_text("\n".join(printed) + "\n")
