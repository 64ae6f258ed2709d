"""How much every input channel of every product matters: mean squares of what the products of an export read, as llama.cpp's imatrix has them."""

import ctypes

import llama_cpp
import numpy as np
import onnx
import onnxruntime

# Products that read the same, by the node whose input is looked at; names of exports and of GGUF files.
READERS = {
    "self_attn/q_proj": ["attn_q", "attn_k", "attn_v"],
    "self_attn/o_proj": ["attn_output"],
    "mlp/gate_proj": ["ffn_gate", "ffn_up"],
    "mlp/down_proj": ["ffn_down"],
}


def importance(model, windows):
    """Mean squares by the name of a tensor of a GGUF."""
    graph = onnx.load(model)
    readers = {node.name: node.input[0] for node in graph.graph.node if node.op_type == "MatMul"}
    sums = dict(sources(readers))
    given = {value.name for value in graph.graph.output}
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(set(sums) - given))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    totals = {name: 0.0 for name in sums}
    for window in windows:
        tensors = session.run(list(sums), {"input_ids": np.array([window], dtype=np.int64)})
        for name, tensor in zip(sums, tensors):
            rows = tensor.reshape(-1, tensor.shape[-1]).astype(np.float64)
            totals[name] = totals[name] + np.square(rows).mean(axis=0)
    return {tensor: totals[name].astype(np.float32) for name, tensors in sums.items() for tensor in tensors}


def sources(readers):
    """Values, and the tensors of a GGUF that multiply them."""
    for name, value in readers.items():
        if name.endswith("lm_head/MatMul"):
            yield value, ["output.weight"]
        for kind, tensors in READERS.items():
            if f"/{kind}/" in name:
                block = name.split("layers.")[1].split("/")[0]
                yield value, [f"blk.{block}.{tensor}.weight" for tensor in tensors]


def as_imatrix(found):
    """As `llama_model_quantize` takes it; keep it alive until then."""
    entries = [llama_cpp.llama_model_imatrix_data(name.encode(), values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), values.size) for name, values in found.items()]
    return (llama_cpp.llama_model_imatrix_data * (len(entries) + 1))(*entries)
