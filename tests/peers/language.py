#!/usr/bin/env python3
"""SmolLM2-135M on mokume, llama.cpp and onnxruntime, in one run.

    python language.py MOKUME MODEL.onnx TOKENIZER.json FOLDER [--threads 2] [--rounds 5] [--tokens 64] [--prompts 128,512] [--json FILE]

MODEL.onnx takes past keys and values (tests/models/smollm2.py, `past`). Artifacts and GGUF files are made in FOLDER once. Every round
measures everybody, one after the other, so that slow minutes of the machine touch all alike; printed are medians over the rounds,
least and most, and the median of the ratios within rounds.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

from tokenizers import Tokenizer

import llama
import ort
import weights

PROMPT = "The capital of France is"
PRESETS = {"W8A8": "llm-rtn-w8a8", "W4A8": "llm-rtn-w4a8", "W2A8": "llm-rtn-w2a8"}
# Ours, and whom each is compared with.
PAIRS = {"W8A8": ["Q8_0"], "W4A8": ["Q4_0", "Q4_0-head"], "W2A8": ["Q2_K", "Q2_K-head", "TQ2_0", "TQ2_0-head"]}


class Mokume:
    """An artifact, measured by `mokume bench`."""

    def __init__(self, binary, path, threads):
        self.binary, self.path, self.threads = binary, path, ["--threads", str(threads)]

    def measure(self, tokens, prompts):
        lengths = ",".join(map(str, prompts))
        bench = self._run("bench", "--rounds", "1", "--tokens", str(tokens), "--prompts", lengths)
        return {phase["name"]: phase["tokens_per_second"]["median"] for phase in bench["phases"]}

    def continuation(self, tokenizer, count):
        return self._run("generate", "--tokenizer", tokenizer, "--prompt", PROMPT, "--max-tokens", str(count))["text"]

    def _run(self, verb, *arguments):
        return json.loads(subprocess.check_output([self.binary, verb, self.path, "-q", "--json", *self.threads, *arguments]))


def compiled(binary, model, folder):
    """The artifacts by name."""
    paths = {name: folder / f"{name}.mok" for name in PRESETS}
    for name, path in paths.items():
        command = [binary, "compile", "-q", model, "-o", path, "--preset", PRESETS[name]]
        subprocess.check_call(command, stdout=subprocess.DEVNULL)
    return paths


def everybody(args, files, artifacts):
    context = max([args.tokens, *args.prompts])
    ours = {name: Mokume(args.mokume, path, args.threads) for name, path in artifacts.items()}
    cpp = {name: llama.Model(path, args.threads, context) for name, path in files.items()}
    four = ort.four_bits(args.model, args.folder)
    others = {"onnxruntime f32": ort.Model(args.model, args.threads), "onnxruntime MatMulNBits": ort.Model(four, args.threads)}
    return ours, cpp, others


def measured(contenders, args):
    """Per contender and test the rate of every round."""
    rows = {name: {} for name in contenders}
    for round_number in range(args.rounds + 1):
        for name, contender in contenders.items():
            for test, rate in contender.measure(args.tokens, args.prompts).items():
                rows[name].setdefault(test, [])
                if round_number > 0:
                    rows[name][test].append(rate)
    return rows


def show(rows, sizes):
    tests = list(next(iter(rows.values())))
    print("| | matrices |" + "".join(f" {test} |" for test in tests))
    print("|---|---|" + "---|" * len(tests))
    for name, rates in rows.items():
        cells = "".join(f" {statistics.median(r):.1f} ({min(r):.1f} to {max(r):.1f}) |" for r in rates.values())
        print(f"| {name} | {sizes.get(name, '')} |{cells}")


def ratios(rows):
    """Of ours to each peer: the median of the ratios within rounds."""
    ratio = lambda ours, peer, test: statistics.median(a / b for a, b in zip(rows[ours][test], rows[peer][test]))
    table = {f"{ours} to {peer}": {test: ratio(ours, peer, test) for test in rows[ours]} for ours, peers in PAIRS.items() for peer in peers}
    return table | {f"W4A8 to {peer}": {t: ratio("W4A8", peer, t) for t in rows["W4A8"]} for peer in rows if peer.startswith("onnxruntime")}


def show_texts(args, ours, cpp):
    tokenizer = Tokenizer.from_file(args.tokenizer)
    tokens = tokenizer.encode(PROMPT).ids
    for name, model in cpp.items():
        print(f"{name}: {tokenizer.decode(model.continuation(tokens, 16))!r}")
    for name, model in ours.items():
        print(f"{name}: {model.continuation(args.tokenizer, 16)!r}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mokume", "model", "tokenizer"):
        parser.add_argument(name)
    parser.add_argument("folder", type=pathlib.Path)
    for name, default in (("threads", 2), ("rounds", 5), ("tokens", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--prompts", type=lambda text: [int(n) for n in text.split(",")], default=[128, 512])
    parser.add_argument("--json", type=pathlib.Path)
    return parser.parse_args()


def main():
    args = arguments()
    print(f"{llama.start()}\n{args.threads} threads, tokens/s, median (least to most) of {args.rounds} rounds\n", flush=True)
    files = weights.prepare(args.folder, pathlib.Path(args.model))
    artifacts = compiled(args.mokume, args.model, args.folder)
    ours, cpp, others = everybody(args, files, artifacts)
    show_texts(args, ours, cpp)
    rows = measured(ours | cpp | others, args)
    print()
    show(rows, {name: weights.describe(path) for name, path in files.items()})
    table = ratios(rows)
    print()
    for pair, tests in table.items():
        print(f"{pair}: " + ", ".join(f"{test} {ratio:.2f}" for test, ratio in tests.items()))
    if args.json:
        args.json.write_text(json.dumps({"rates": rows, "ratios": table}, indent=1))


if __name__ == "__main__":
    main()
