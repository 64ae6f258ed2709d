#!/usr/bin/env python3
"""What quantization costs super-resolution networks, by widths and by method: PSNR-Y on pairs of pictures, in one table.

    python images.py MOKUME --pairs FOLDER --model imdn=FILE.onnx:unit --model rlfn=FILE.onnx:bytes [--rows W8A8,W4A8] [--columns RTN,ours]
                     [--samples 16] [--seed 1] [--work FOLDER] [--markdown FILE]

Calibration sees generated pictures (pictures.py), never those of the pairs. PSNR is that of the artifacts' integer kernels. In rows of less than 8 bits the
first and the last convolution have 8. Results are kept in FOLDER, one file each, so that a run that was stopped goes on. Needs numpy and Pillow.
"""

import json
import pathlib

import pictures
from convolutions import ends, widths
from measure import compiled, kept, names, parser, print_lines, run

ROWS = ["W8A8", "W4A8", "W4A4"]
SIZE = 96


def smoothed(row):
    """Few bits of activations are where channels should be most even, and where ranges should leave out what lies far out."""
    return "smooth-conv{alpha=0.75}," if widths(row)["a"] < 8 else "smooth-conv,"


def ranges(row):
    """Ranges of 8 bits are those of the picture, as it runs."""
    return {"a_search": True} if widths(row)["a"] < 8 else {"calib": False}


# The pipeline of a method, between the canonical form and the end.
COLUMNS = {
    "RTN": lambda row: ends(row, calib=False),
    "RTN smooth": lambda row: smoothed(row) + ends(row, **ranges(row)),
    "ours": lambda row: smoothed(row) + ends(row, **ranges(row), bias=True, rounder="soft"),
}


def psnr(args, model, colors):
    return json.loads(run([args.mokume, "--json", "eval", "psnr", model, "--pairs", args.pairs, "--range", colors])[0])["psnr_y"]


def cell(args, name, row, column):
    model, colors = args.models[name]
    middle = COLUMNS[column](row)

    def measure():
        target = args.work / "image.mok"
        calibration = ["--calib", args.pictures, "--calib-range", colors, "--calib-samples", args.samples]
        return compiled(args, model, middle, calibration, target) | {"psnr": psnr(args, target, colors)}

    return kept(args, f"{name} {row} {column}: {middle}", [model.stat().st_size, args.samples, args.seed, SIZE], measure)


def table(args):
    pictures.write(args.pictures, args.samples, SIZE, args.seed)
    yield "PSNR-Y in dB, file in kB, processor seconds to compile:"
    yield ""
    yield "| model | | f32 | " + " | ".join(args.columns) + " |"
    yield "|---" * (3 + len(args.columns)) + "|"
    for name, (model, colors) in args.models.items():
        exact = kept(args, f"{name} f32", [model.stat().st_size], lambda: {"psnr": psnr(args, model, colors)})["psnr"]
        for row in args.rows:
            cells = [cell(args, name, row, column) for column in args.columns]
            texts = [f"{c['psnr']:.2f} ({c['bytes'] / 1e3:.0f} kB, {c['seconds']:.0f} s)" for c in cells]
            yield f"| {name} | {row} | {exact:.2f} | " + " | ".join(texts) + " |"


def named(text):
    name, file = text.split("=", 1)
    model, colors = file.rsplit(":", 1)
    return name, (pathlib.Path(model), colors)


def main():
    options = parser(__doc__, ROWS)
    options.add_argument("--columns", type=names, default=list(COLUMNS))
    options.add_argument("--pairs", type=pathlib.Path, required=True)
    options.add_argument("--model", type=named, action="append", required=True, dest="models")
    options.add_argument("--samples", type=int, default=16)
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()
    args.models = dict(args.models)
    args.pictures = args.work / f"pictures-{args.seed}-{args.samples}"
    print_lines(args, table(args))


if __name__ == "__main__":
    main()
