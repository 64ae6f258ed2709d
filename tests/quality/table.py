#!/usr/bin/env python3
"""What quantization costs a language model, by widths and by method: nats per token over f32, in one table.

    python table.py MOKUME MODEL.onnx TOKENIZER.json TEXT [--windows 40] [--samples 32] [--rows W4A8,W2A8] [--columns RTN,ours]
                    [--stateful MODEL.onnx] [--work FOLDER] [--markdown FILE]

Calibration sees the first 60 % of the text, the perplexity is that of windows of 512 from the rest, by the artifacts' integer kernels.
Products of blocks have the widths of the row; head and embedding are at 8 bits in every row. The row whose keys and values are in 4 bits
needs an export of the same model that takes those of the past (`--stateful`), and is left out without it. Results are kept in FOLDER, one file each, so
that a run that was stopped goes on.
"""

import pathlib

from measure import names, print_lines, step
from texts import HEAD, ROWS, baseline, blocks, cell, parser

ROTATED = "fold-norm,rotate"
STATE = "declare-state,quantize-state{k=4,v=4}"


def is_stateful(row):
    return row.endswith("KV4")


def state(row):
    return f"{STATE}," if is_stateful(row) else ""


def rotated(row):
    """Rotations, of keys too where they are in few bits."""
    return f"fold-norm,rotate{{r3=true}},{STATE}," if is_stateful(row) else f"{ROTATED},"


def abq(row, epochs):
    widths = ROWS[row]
    balance = widths.get("levels") == "five"
    fields = {"w": 2 if balance else widths["w"], "a": widths["a"], "group": widths.get("group", 0), "balance": balance, "epochs": epochs}
    return f"{state(row)}{step('abq', **fields)},{HEAD}"


def ours(row):
    """Soft rounding; the levels of few bits per token leave out what lies far out."""
    widths = ROWS[row]
    return {"rounder": "soft"} | ({"a_search": True} if widths["a"] <= 4 and "a_group" not in widths else {})


# The passes of a method, between the canonical form and the end.
COLUMNS = {
    "RTN": lambda row, args: state(row) + blocks(row),
    "SmoothQuant": lambda row, args: "smooth," + state(row) + blocks(row),
    "ABQ": lambda row, args: abq(row, args.epochs),
    "rotation+GPTQ": lambda row, args: rotated(row) + blocks(row, rounder="gptq"),
    "ours": lambda row, args: rotated(row) + blocks(row, **ours(row)),
}
# Fewer samples, because every one is seen many times.
SAMPLES = {"ABQ": 8}


def table(args):
    exact = baseline(args)
    yield f"f32: {exact:.5f} nats per token on {args.windows} windows of 512; nats over that, file in MB, processor seconds to compile, peak in GB:"
    yield ""
    yield "| | " + " | ".join(args.columns) + " |"
    yield "|---" * (1 + len(args.columns)) + "|"
    for row in args.rows:
        if is_stateful(row) and not args.stateful:
            continue
        model = args.stateful if is_stateful(row) else args.model
        cells = [cell(args, COLUMNS[column](row, args), SAMPLES.get(column, args.samples), model=model) for column in args.columns]
        texts = [f"{c['nats'] - exact:.4f} ({c['bytes'] / 1e6:.1f} MB, {c['seconds']:.0f} s, {c['peak_gb']:.1f} GB)" for c in cells]
        yield f"| {row} | " + " | ".join(texts) + " |"


def main():
    arguments = parser(__doc__, list(ROWS))
    arguments.add_argument("--epochs", type=int, default=20, help="of ABQ's training")
    arguments.add_argument("--columns", type=names, default=list(COLUMNS))
    arguments.add_argument("--stateful", type=pathlib.Path, help="export with the keys and values of the past as inputs")
    args = arguments.parse_args()
    print_lines(args, table(args))


if __name__ == "__main__":
    main()
