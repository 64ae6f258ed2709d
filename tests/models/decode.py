#!/usr/bin/env python3
"""Decoding speed of a language model beside onnxruntime's, in one run.

    python decode.py MOKUME MODEL.onnx TOKENIZER.json ARTIFACT.mok [ARTIFACT.mok ...] [--threads 2] [--rounds 5] [--tokens 48]

MODEL.onnx takes past keys and values (SmolLM2 `past`). Every round measures onnxruntime in f32 and then every artifact, so that
slow minutes of the machine touch all alike; printed are medians over the rounds, their spread, and ratios within rounds.
"""

import argparse
import json
import statistics
import subprocess
import time

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

PROMPT = "The capital of France is"


class Peer:
    """onnxruntime, f32, the past handed back at every step as its interface asks for."""

    def __init__(self, path, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.past = {i.name: i.shape for i in self.session.get_inputs() if i.name.startswith("past_key_values")}

    def tokens_per_second(self, prompt, count):
        past = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in self.past.items()}
        ids, total, seconds = np.array([prompt]), 0, []
        for _ in range(count):
            total += ids.shape[1]
            positions = np.arange(total - ids.shape[1], total)[None]
            feed = {"input_ids": ids, "attention_mask": np.ones((1, total), np.int64), "position_ids": positions, **past}
            start = time.perf_counter()
            logits, *present = self.session.run(self.outputs, feed)
            seconds.append(time.perf_counter() - start)
            past = dict(zip(self.past, present))
            ids = logits[:, -1:].argmax(-1)
        return (count - 1) / sum(seconds[1:])


def mokume(binary, artifact, tokenizer, threads, count):
    command = [binary, "generate", artifact, "--tokenizer", tokenizer, "--prompt", PROMPT, "--json"]
    command += ["--max-tokens", str(count), "--threads", str(threads)]
    return json.loads(subprocess.check_output(command))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mokume")
    parser.add_argument("model")
    parser.add_argument("tokenizer")
    parser.add_argument("artifacts", nargs="+")
    for name, default in (("threads", 2), ("rounds", 5), ("tokens", 48)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    prompt = Tokenizer.from_file(args.tokenizer).encode(PROMPT).ids
    peer = Peer(args.model, args.threads)
    peer.tokens_per_second(prompt, 4)
    rows = {"onnxruntime f32": []} | {artifact: [] for artifact in args.artifacts}
    texts = {}
    for _ in range(args.rounds):
        rows["onnxruntime f32"].append(peer.tokens_per_second(prompt, args.tokens))
        for artifact in args.artifacts:
            result = mokume(args.mokume, artifact, args.tokenizer, args.threads, args.tokens)
            rows[artifact].append(result["decode_tokens_per_second"])
            texts[artifact] = result["text"]
    print(f"{args.threads} threads, {args.tokens} tokens after {PROMPT!r}, median (least to most) of {args.rounds} rounds")
    for name, speeds in rows.items():
        ratio = statistics.median(speed / base for speed, base in zip(speeds, rows["onnxruntime f32"]))
        spread = f"({min(speeds):.1f} to {max(speeds):.1f})"
        print(f"{name}: {statistics.median(speeds):.1f} tokens/s {spread}, {ratio:.2f}x  {texts.get(name, '')[:40]!r}")


if __name__ == "__main__":
    main()
