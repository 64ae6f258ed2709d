#!/usr/bin/env python3
"""What quantization costs a diffusion model, by time step, widths and method: the squared error of the noise that it predicts, in one table.

    python diffusion.py MOKUME MODEL.onnx [--rows W8A8,W4A8] [--columns RTN,ours] [--seed 1] [--work FOLDER] [--markdown FILE]

The model has inputs `x` [n, 1, 28, 28] and `t` [1, 1] (where its file says [n, 1], that is mended: it holds for n = 1 only) and gives `eps`, for
1000 steps of noise whose variance goes evenly from 0.0001 to 0.02. Pictures are sampled from the f32 model (DDIM, 50 steps); noise is added to
them for time steps over the whole range, one for every batch, as a sampler has it. Calibration and judgment have pictures and noise of other
seeds, and other time steps. Results are kept in FOLDER. Needs numpy and onnx.
"""

import pathlib

import numpy
import onnx
from convolutions import ends
from measure import compiled, kept, names, parser, print_lines, run

ROWS = ["W8A8", "W4A8"]
STEPS = 1000
ALPHA = numpy.cumprod(1 - numpy.linspace(1e-4, 0.02, STEPS))
# Between these time steps errors are averaged.
BORDERS = [0, 50, 100, 200, 400, 700, 1000]
# Pictures of a batch, and batches.
CALIBRATION = (8, 32)
JUDGMENT = (24, 40)


# The pipeline of a method, between the canonical form and the end.
COLUMNS = {
    "RTN": lambda row: ends(row, calib=False),
    "RTN static": lambda row: ends(row, a_search=True),
    "ours": lambda row: "smooth-conv," + ends(row, calib=False, bias=True, rounder="soft"),
    "ours static": lambda row: "smooth-conv," + ends(row, a_search=True, bias=True, rounder="soft"),
}


def mended(args):
    """The model with one time step for all pictures."""
    file, model = args.work / args.model.name, onnx.load(args.model)
    step = next(value for value in model.graph.input if value.name == "t")
    step.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, file)
    return file


def predicted(args, model, x, t):
    given, got = args.work / "in.npz", args.work / "out.npz"
    numpy.savez(given, x=x.astype(numpy.float32), t=numpy.array([[t]]))
    run([args.mokume, "-q", "run", model, "--inputs", given, "--outputs", got])
    return numpy.load(got)["eps"].astype(numpy.float64)


def sampled(args, seed, count):
    """Pictures of the f32 model: DDIM without noise of its own."""
    file = args.work / f"pictures-{args.model.stem}-{seed}-{count}.npy"
    if not file.exists():
        x = numpy.random.default_rng(seed).standard_normal((count, 1, 28, 28))
        steps = [*range(STEPS - 1, 0, -20), -1]
        for now, after in zip(steps, steps[1:]):
            eps, later = predicted(args, args.model, x, now), ALPHA[after] if after >= 0 else 1.0
            clean = (x - (1 - ALPHA[now]) ** 0.5 * eps) / ALPHA[now] ** 0.5
            x = later**0.5 * clean.clip(-1, 1) + (1 - later) ** 0.5 * eps
        numpy.save(file, x)
    return numpy.load(file)


def noised(args, seed, size, batches, shift):
    """Batches of noised pictures, the noise, and its time step."""
    pictures, random = sampled(args, seed, 64), numpy.random.default_rng([seed, 1])
    for batch in range(batches):
        t = int((batch + shift) * STEPS / batches)
        x, eps = pictures[random.integers(0, len(pictures), size)], random.standard_normal((size, 1, 28, 28))
        yield ALPHA[t] ** 0.5 * x + (1 - ALPHA[t]) ** 0.5 * eps, eps, t


def calibration(args):
    """Files for --calib."""
    folder = args.work / f"noised-{args.seed}"
    folder.mkdir(exist_ok=True)
    files = []
    for index, (x, _, t) in enumerate(noised(args, args.seed, *CALIBRATION, 0.5)):
        files += ["--calib", folder / f"{index:03}.npz"]
        numpy.savez(files[-1], x=x.astype(numpy.float32), t=numpy.array([[t]]))
    return files


def errors(args, model):
    """Mean squared errors between the borders."""
    found = [[] for _ in BORDERS[1:]]
    for x, eps, t in noised(args, args.seed + 1, *JUDGMENT, 0.25):
        bucket = max(index for index, border in enumerate(BORDERS[:-1]) if border <= t)
        found[bucket].append(float(((predicted(args, model, x, t) - eps) ** 2).mean()))
    return [sum(bucket) / len(bucket) for bucket in found]


def cell(args, row, column):
    middle = COLUMNS[column](row)

    def measure():
        target = args.work / "diffusion.mok"
        return compiled(args, args.model, middle, calibration(args), target) | {"errors": errors(args, target)}

    return kept(args, f"{args.model.stem} {row} {column}: {middle}", [args.model.stat().st_size, args.seed, CALIBRATION, JUDGMENT], measure)


def line(name, errors, more):
    mean = sum(e * (high - low) for e, low, high in zip(errors, BORDERS, BORDERS[1:])) / STEPS
    return f"| {name} | " + " | ".join(f"{error:.5f}" for error in [*errors, mean]) + f" | {more} |"


def table(args):
    yield "Mean squared error of the predicted noise, by time step; over all steps; file in kB, processor seconds to compile:"
    yield ""
    yield "| | " + " | ".join(f"{low}–{high - 1}" for low, high in zip(BORDERS, BORDERS[1:])) + " | all | |"
    yield "|---" * (2 + len(BORDERS)) + "|"
    exact = kept(args, f"{args.model.stem} f32", [args.seed, JUDGMENT], lambda: errors(args, args.model))
    yield line("f32", exact, f"{args.model.stat().st_size / 1e3:.0f} kB")
    for row in args.rows:
        for column in args.columns:
            c = cell(args, row, column)
            yield line(f"{row} {column}", c["errors"], f"{c['bytes'] / 1e3:.0f} kB, {c['seconds']:.0f} s")


def main():
    options = parser(__doc__, ROWS)
    options.add_argument("--columns", type=names, default=list(COLUMNS))
    options.add_argument("model", type=pathlib.Path)
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.model = mended(args)
    print_lines(args, table(args))


if __name__ == "__main__":
    main()
