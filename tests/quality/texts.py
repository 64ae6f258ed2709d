"""Language models, measured: pipelines of the rows, and nats per token of artifacts."""

import json
import os
import pathlib

import measure
from measure import compiled, kept, quantize, run

HEAD = quantize(w=8, a=8, a_levels="signed")
WINDOW, CALIBRATION, JUDGED = 512, "0:0.6", "0.6"
# What the products of blocks get.
ROWS = {
    "W8A8": {"w": 8, "a": 8, "a_levels": "signed"},
    "W6A6": {"w": 6, "a": 6},
    "W4A8": {"w": 4, "a": 8, "a_levels": "signed", "group": 64},
    "W4A4": {"w": 4, "a": 4, "group": 64},
    "W4A4 KV4": {"w": 4, "a": 4, "group": 64},
    "W4A4 g64": {"w": 4, "a": 4, "group": 64, "a_group": 64},
    "W3A8": {"w": 3, "a": 8, "a_levels": "signed", "group": 64, "levels": "odd"},
    "W2A8": {"w": 2, "a": 8, "a_levels": "signed", "group": 64, "levels": "odd"},
    "W2*A8": {"w": 3, "a": 8, "a_levels": "signed", "group": 64, "levels": "five"},
    "W2A16": {"w": 2, "a": 16, "group": 64, "levels": "odd"},
}


def parser(description, rows):
    """The arguments that tables of language models share."""
    parser = measure.parser(description, rows)
    for name in ["model", "tokenizer", "text"]:
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--samples", type=int, default=32)
    return parser


def blocks(row, **more):
    """The pass that rounds what the blocks of `row` compute, and the one for the head."""
    return quantize(**{**ROWS[row], "skip_head": True, "embedding": False, **more}) + "," + HEAD


def perplexity(args, model):
    """What `eval ppl` finds."""
    command = [args.mokume, "--json", "eval", "ppl", model, "--text", args.text, "--tokenizer", args.tokenizer]
    return json.loads(run(command + ["--from", JUDGED, "--window", WINDOW, "--windows", args.windows])[0])


def settings(args, model):
    return [args.windows, *(os.path.getsize(path) for path in (model, args.text))]


def cell(args, middle, samples, seed=0, model=None):
    """What is found of the passes `middle`, between the canonical form and the end."""
    model = model or args.model

    def measured():
        target = args.work / "model.mok"
        calibration = ["--calib", args.text, "--calib-part", CALIBRATION, "--calib-samples", samples, "--calib-seed", seed, "--tokenizer", args.tokenizer]
        result = compiled(args, model, middle, calibration, target)
        found = perplexity(args, target)
        target.unlink()
        return result | {"nats": found["nats_per_token"], "error": found["standard_error"], "perplexity": found["perplexity"]}

    return kept(args, f"{model.stem} seed {seed}: {middle}", [samples, *settings(args, model)], measured)


def baseline(args):
    """Nats per token of the float model."""
    return kept(args, f"{args.model.stem} f32", settings(args, args.model), lambda: perplexity(args, args.model))["nats_per_token"]
