"""What the tables of convolution networks share: pipelines, commands, and results that are kept so that a run that was stopped goes on."""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

from measure import CANONICAL, END, keep


def quantize(**options):
    return "quantize{" + ",".join(f"{name}={str(value).lower()}" for name, value in options.items()) + "}"


def widths(row):
    """Bits of weights and activations of a row such as W4A8."""
    w, a = row[1:].split("A")
    return {"w": int(w), "a": int(a)}


def ends(row, **more):
    """Rounding of a network, whose first and last product have 8 bits where the others have less."""
    body = widths(row)
    if body["w"] < 8:
        body["group"] = 32
    if body == {"w": 8, "a": 8}:
        return quantize(**body, **more)
    more_at_ends = {name: value for name, value in more.items() if name != "a_search"} | {"calib": False}
    return quantize(**body, skip_ends=True, **more) + "," + quantize(w=8, a=8, **more_at_ends)


def pipeline(middle):
    return ",".join([CANONICAL, middle, END])


def run(command):
    process = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{process.stderr}")
    return process.stdout


def compiled(args, model, middle, calibration, target):
    """Seconds that it takes."""
    command = [args.mokume, "--json", "compile", model, "-o", target, "-p", pipeline(middle), *calibration]
    start = time.monotonic()
    run(command + ["--checkpoint", args.work / "checkpoint"])
    return time.monotonic() - start


def kept(args, name, settings, measure):
    """What `measure` gives, from a file if it was measured before with the same settings."""
    settings = json.dumps([name, *settings, os.path.getmtime(args.mokume)], default=str)
    file = args.work / (hashlib.sha256(settings.encode()).hexdigest()[:16] + ".json")
    if not file.exists():
        print(name, file=sys.stderr)
        keep(file, measure())
    return json.loads(file.read_text())


def parser(doc, rows, columns):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mokume", type=pathlib.Path)
    split = lambda text: text.split(",")
    parser.add_argument("--rows", type=split, default=list(rows))
    parser.add_argument("--columns", type=split, default=list(columns))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".mokume/quality"))
    parser.add_argument("--markdown", type=pathlib.Path)
    return parser
