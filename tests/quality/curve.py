#!/usr/bin/env python3
"""File bytes against perplexity: llama.cpp's types and ours, from the same f32 weights, on the same windows.

    python curve.py MOKUME ROT.onnx TOKENIZER.json TEXT OURS.mok… [--windows 40] [--types Q8_0,Q4_0] [--work FOLDER] [--markdown FILE]

ROT.onnx is SmolLM2-135M in another basis (tests/models/smollm2.py, `rot`), so its weights lie on no grid; the GGUF gets the same ones.
Windows of 512 tokens of the last 40 % of the text, as `mokume eval ppl --from 0.6` takes them. llama.cpp gets an importance matrix of
windows of the first 60 %. Needs the packages of tests/peers.
"""

import math
import pathlib
import sys

import gguf
import llama_cpp
import numpy as np
import onnx
from tokenizers import Tokenizer

sys.path.append(str(pathlib.Path(__file__).parents[1] / "peers"))
import llama
import weights
from importance import as_imatrix, importance
from measure import kept, names, print_lines
from texts import JUDGED, WINDOW, parser, perplexity, settings

TYPES = ["Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0", "Q3_K_M", "Q3_K_S", "Q2_K", "TQ2_0"]


def rotated(plain, model, target):
    """The weights of `plain` in the basis of `model`: norms folded, the residual stream turned."""
    reader = gguf.GGUFReader(plain)
    tensors = {tensor.name: np.array(tensor.data, dtype=np.float64) for tensor in reader.tensors}
    turn = basis(tensors["token_embd.weight"], model)
    turned = dict(rotate(tensors, turn))
    writer = gguf.GGUFWriter(target, "llama")
    weights.copy_fields(reader, writer)
    for name, values in turned.items():
        writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))
    weights.finish(writer)


def basis(embedding, model):
    """The orthogonal matrix from the table of `plain` to that of `model`."""
    tables = [onnx.numpy_helper.to_array(w) for w in onnx.load(model).graph.initializer if list(w.dims) == list(embedding.shape)]
    for table in tables:
        left, _, right = np.linalg.svd(embedding.T @ table.astype(np.float64))
        turn = left @ right
        if np.allclose(embedding @ turn, table, atol=1e-5):
            return turn
    sys.exit(f"{model} has no table that is the one of the GGUF in another basis")


def rotate(tensors, turn):
    norm = lambda block, name: tensors[f"blk.{block}.{name}_norm.weight"]
    yield "output.weight", tensors["token_embd.weight"] * tensors["output_norm.weight"] @ turn
    for name, values in tensors.items():
        block, kind = (name.split(".")[1], name.split(".")[2]) if name.startswith("blk.") else (None, name)
        if values.ndim == 1:
            yield name, np.ones_like(values)
        elif kind in ("attn_q", "attn_k", "attn_v"):
            yield name, values * norm(block, "attn") @ turn
        elif kind in ("ffn_gate", "ffn_up"):
            yield name, values * norm(block, "ffn") @ turn
        elif kind in ("attn_output", "ffn_down"):
            yield name, turn.T @ values
        else:
            yield name, values @ turn


def windows(args):
    """Windows to judge by, and windows to calibrate with, evenly spread."""
    tokens = Tokenizer.from_file(str(args.tokenizer)).encode(args.text.read_text(), add_special_tokens=False).ids
    split = int(float(JUDGED) * len(tokens))
    step = (split - WINDOW) // args.samples
    return [tokens[split + i * WINDOW:][:WINDOW] for i in range(args.windows)], [tokens[i * step:][:WINDOW] for i in range(args.samples)]


def theirs(path, parts, threads):
    """Nats per token by llama.cpp."""
    model = llama.Model(path, threads, WINDOW)
    losses = [loss for part in parts for loss in model.losses(part)]
    return math.fsum(losses) / len(losses)


def rows(args):
    plain, base = args.work / "plain.gguf", args.work / "f32.gguf"
    if not base.exists():
        weights.write_f32(plain)
        rotated(plain, args.model, base)
    parts, calibration = windows(args)
    matrix = importance(args.model, calibration)
    for kind in ["f32", *args.types]:
        path = base if kind == "f32" else weights.quantized(base, f"{kind}-imatrix", as_imatrix(matrix))
        yield kind, path.stat().st_size, kept(args, f"llama.cpp {kind}", settings(args, path), lambda: theirs(path, parts, args.threads))
    for path in args.ours:
        yield path.stem, path.stat().st_size, kept(args, path.stem, [path.stat().st_mtime_ns, *settings(args, path)], lambda: perplexity(args, path)["nats_per_token"])


def table(args):
    yield f"{args.windows} windows of {WINDOW} tokens of {args.text.name}"
    yield ""
    yield "| | MB | nats per token | perplexity |"
    yield "|---|---|---|---|"
    for name, size, nats in rows(args):
        yield f"| {name} | {size / 1e6:.1f} | {nats:.4f} | {math.exp(nats):.2f} |"


def main():
    arguments = parser(__doc__, [])
    arguments.add_argument("ours", type=pathlib.Path, nargs="*")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--types", type=names, default=TYPES)
    args = arguments.parse_args()
    llama.start()
    print_lines(args, table(args))


if __name__ == "__main__":
    main()
