#!/usr/bin/env python3
"""Runs the models in onnxruntime and keeps inputs and outputs.   python reference.py MODELS REFERENCES [NAME ...]

Writes REFERENCES/NAME.0.npz and NAME.1.npz with arrays `in NAME` and `out NAME`. Files newer than the model are kept.
"""

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


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def write_reference(runner, name, index, target):
    inputs = make_inputs(name, index)
    names = [output.name for output in runner.get_outputs()]
    arrays = {f"in {key}": value for key, value in inputs.items()}
    arrays |= {f"out {key}": value for key, value in zip(names, runner.run(names, inputs))}
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
        targets = [references / f"{name}.{index}.npz" for index in range(len(INPUTS[name]))]
        stale = [t for t in targets if not t.exists() or t.stat().st_mtime < path.stat().st_mtime]
        if stale:
            runner = session(path)
            for index, target in enumerate(targets):
                write_reference(runner, name, index, target)


if __name__ == "__main__":
    main()
