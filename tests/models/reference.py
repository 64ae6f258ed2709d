#!/usr/bin/env python3
"""Runs the models in onnxruntime and keeps inputs and outputs.   python reference.py MODELS REFERENCES [NAME ...]

Writes REFERENCES/NAME.0.npz and NAME.1.npz with arrays `in NAME` and `out NAME`, and `before NAME`: inputs of the
run before, where there is one. A file newer than the model that holds the inputs of the catalog is kept.
"""

import functools
import pathlib
import sys

import numpy as np
import onnxruntime

from catalog import INPUTS, make_inputs


def model_file(models, name):
    for path in (models / f"{name}.onnx", models / name / "model.onnx"):
        if path.exists():
            return path
    return None


class Runner:
    """A model in onnxruntime, loaded when it first runs."""

    def __init__(self, path):
        self.path = path

    @functools.cached_property
    def session(self):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])

    def run(self, inputs):
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs)))


def holds(target, inputs):
    with np.load(target) as kept:
        return all(key in kept and np.array_equal(kept[key], value) for key, value in inputs.items())


def write_reference(runner, inputs, target):
    given = {key.removeprefix("in "): value for key, value in inputs.items() if key.startswith("in ")}
    arrays = dict(inputs)
    arrays |= {f"out {key}": value for key, value in runner.run(given).items()}
    partial = target.with_suffix(".part")
    with open(partial, "wb") as file:
        np.savez(file, **arrays)
    partial.rename(target)


def main():
    models, references = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    references.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[3:] or INPUTS:
        path = model_file(models, name)
        if path is None:
            print(f"skipped: {name} is not in {models}", file=sys.stderr)
            continue
        runner = Runner(path)
        for index in range(len(INPUTS[name])):
            target = references / f"{name}.{index}.npz"
            inputs, before = make_inputs(name, index, runner.run)
            inputs = {f"in {key}": value for key, value in inputs.items()} | {f"before {key}": value for key, value in before.items()}
            newer = target.exists() and target.stat().st_mtime >= path.stat().st_mtime
            if not (newer and holds(target, inputs)):
                write_reference(runner, inputs, target)


if __name__ == "__main__":
    main()
