#!/usr/bin/env python3
"""What every part of the recipe is worth: nats per token over f32, one line per step, with the spread over calibration seeds.

    python ablation.py MOKUME MODEL.onnx TOKENIZER.json TEXT [--rows W2A8,W4A4] [--seeds 0,1,2] [--windows 40] [--samples 32]
                       [--work FOLDER] [--markdown FILE]

Every line adds something to the one before. Texts are divided as by table.py, and results kept as there.
"""

import statistics

from measure import print_lines
from texts import ROWS, baseline, blocks, cell, parser
from table import ROTATED


def steps(row):
    """Names, and the passes up to there."""
    plain = {"levels": "signed"} if ROWS[row].get("levels") == "odd" else {}
    rotated = lambda **more: f"{ROTATED}," + blocks(row, **more)
    yield "round to nearest", blocks(row, **plain)
    yield "rotation", rotated(**plain)
    yield "GPTQ", rotated(rounder="gptq", retarget="false", refits=0, **plain)
    yield "aimed at the float model", rotated(rounder="gptq", refits=0, **plain)
    yield "scales fitted to codes", rotated(rounder="gptq", **plain)
    yield "soft rounding", rotated(rounder="soft", **plain)
    if plain:
        yield "levels", rotated(rounder="soft")


def table(args):
    exact = baseline(args)
    for row in args.rows:
        yield f"{row}, {args.windows} windows of 512, {args.samples} calibration windows, seeds {', '.join(map(str, args.seeds))}; f32 {exact:.5f}:"
        yield ""
        yield "| and | nats over f32, mean | least to most |"
        yield "|---|---|---|"
        for name, passes in steps(row):
            # Without calibration data seeds change nothing.
            seeds = args.seeds if "rounder" in passes else args.seeds[:1]
            found = [cell(args, passes, args.samples, seed)["nats"] - exact for seed in seeds]
            yield f"| {name} | {statistics.mean(found):.4f} | {min(found):.4f} to {max(found):.4f} |"
        yield ""


def main():
    arguments = parser(__doc__, ["W2A8", "W4A4"])
    arguments.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2])
    args = arguments.parse_args()
    print_lines(args, table(args))


if __name__ == "__main__":
    main()
