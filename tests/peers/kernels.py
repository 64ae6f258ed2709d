#!/usr/bin/env python3
"""Products of one row with weight matrices that no cache holds: mokume's kernels beside onnxruntime's MatMulNBits, in one run.

    python kernels.py MOKUME [--threads 2] [--rounds 5] [--shapes 4096x4096,4096x11008] [--group 32] [--time 0.5] [--json FILE]

Both multiply the same row by as many copies of a matrix as are four times larger than the last cache, one after the other; a time is
that of a whole run divided by the copies, activations quantized and packed included.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

BEYOND = 4 * (32 << 20)
# Products in 8-bit integers, or in f32: whichever is faster counts.
ACCURACY = (4, 1)


class MatMulNBits:
    def __init__(self, n, k, bits, group, accuracy, threads, folder):
        path = pathlib.Path(folder) / f"nbits_{n}x{k}_w{bits}_{accuracy}.onnx"
        self.copies = max(1, -(-BEYOND // (n * k * bits // 8)))
        onnx.save(self._model(n, k, bits, group, accuracy), path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        path.unlink()
        self.row = {"x": np.random.default_rng(0).standard_normal((1, k), np.float32)}

    def _model(self, n, k, bits, group, accuracy):
        random, blocks = np.random.default_rng(0), k // group
        nodes, weights = [], []
        for copy in range(self.copies):
            codes = random.integers(0, 256, (n, blocks, group * bits // 8), np.uint8)
            scales = np.full(n * blocks, 0.01, np.float32)
            weights += [numpy_helper.from_array(codes, f"b{copy}"), numpy_helper.from_array(scales, f"s{copy}")]
            sizes = {"K": k, "N": n, "bits": bits, "block_size": group, "accuracy_level": accuracy}
            nodes.append(helper.make_node("MatMulNBits", ["x", f"b{copy}", f"s{copy}"], [f"y{copy}"], domain="com.microsoft", **sizes))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, k])
        outputs = [helper.make_tensor_value_info(f"y{copy}", TensorProto.FLOAT, [1, n]) for copy in range(self.copies)]
        graph = helper.make_graph(nodes, "products", [x], outputs, weights)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def microseconds(self, seconds):
        self.session.run(None, self.row)
        samples, start = [], time.perf_counter()
        while not samples or time.perf_counter() - start < seconds:
            begin = time.perf_counter()
            self.session.run(None, self.row)
            samples.append((time.perf_counter() - begin) / self.copies * 1e6)
        return statistics.median(samples)


def peers(n, k, args, folder):
    """MatMulNBits of every width that this onnxruntime has."""
    made, missing = {}, []
    for bits in (8, 4, 2):
        for accuracy in ACCURACY:
            try:
                made[bits, accuracy] = MatMulNBits(n, k, bits, args.group, accuracy, args.threads, folder)
            except Exception as error:
                missing.append(f"w{bits} (accuracy level {accuracy}): {str(error).splitlines()[0][:120]}")
    return made, missing


def mokume(args, n, k):
    """Microseconds and fraction of the read bandwidth by width, activations of 8 bits."""
    command = [args.mokume, "bench", "--kernels", "-q", "--json", "--threads", str(args.threads), "--group", str(args.group)]
    bench = json.loads(subprocess.check_output([*command, "--shapes", f"{n}x{k}", "--time", str(args.time)]))
    return {row["w"]: (row["us"]["median"], row["fraction"]) for row in bench["kernels"]}


def measure(n, k, args):
    with tempfile.TemporaryDirectory() as folder:
        others, missing = peers(n, k, args, folder)
    ours, theirs = {}, {}
    for round_number in range(args.rounds):
        for width, sample in mokume(args, n, k).items():
            ours.setdefault(width, []).append(sample)
        times = {key: peer.microseconds(args.time) for key, peer in others.items()}
        for bits in {bits for bits, _ in times}:
            theirs.setdefault(bits, []).append(min(us for (width, _), us in times.items() if width == bits))
    return ours, theirs, missing


def show(n, k, ours, theirs):
    for width in sorted(ours, reverse=True):
        times, fractions = zip(*ours[width])
        line = f"| {n} x {k} | w{width}a8 | {statistics.median(times):.0f} ({min(times):.0f} to {max(times):.0f}) | {statistics.median(fractions):.0%} |"
        wider = f"{statistics.median(a[0] / b[0] for a, b in zip(ours[width], ours[width + 1])):.2f}" if width + 1 in ours else "-"
        peer = ["-", "-"]
        if width in theirs:
            peer = [f"{statistics.median(theirs[width]):.0f}", f"{statistics.median(b / a for a, b in zip(times, theirs[width])):.2f}"]
        print(f"{line} {wider} | {peer[0]} | {peer[1]} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mokume")
    for name, default in (("threads", 2), ("rounds", 5), ("group", 32), ("time", 0.5)):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--shapes", default="4096x4096,4096x11008")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    print("| n x k | widths | us, median (least to most) | of read bandwidth | to w+1 | MatMulNBits us | times faster |\n|---|---|---|---|---|---|---|")
    results = {}
    for shape in args.shapes.split(","):
        n, k = map(int, shape.split("x"))
        ours, theirs, missing = measure(n, k, args)
        show(n, k, ours, theirs)
        results[shape] = {"mokume": ours, "onnxruntime": theirs, "missing": missing}
        for line in missing:
            print(f"onnxruntime has no {line}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
