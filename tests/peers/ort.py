"""onnxruntime on a language model that takes past keys and values and gives present ones, in f32 and with 4-bit weights."""

import pathlib
import time

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer


def four_bits(source, folder):
    """The model with every matrix product as MatMulNBits: 4 bits in blocks of 32, products in 8-bit integers."""
    target = pathlib.Path(folder) / "matmul_nbits.onnx"
    if not target.exists():
        folded, part = target.with_suffix(".folded"), target.with_suffix(".part")
        fold(source, folded)
        quantizer = MatMulNBitsQuantizer(onnx.load(folded), block_size=32, is_symmetric=True, accuracy_level=4)
        quantizer.process()
        onnx.save(quantizer.model.model, part)
        folded.unlink()
        part.rename(target)
    return target


def fold(source, target):
    """Computes what does not depend on inputs, so that the head, a transposed embedding, has a constant weight."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


class Model:
    def __init__(self, path, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.past = {i.name: i.shape for i in self.session.get_inputs() if i.name.startswith("past_key_values")}

    def measure(self, tokens, prompts):
        tests = {f"pp{length}": (length, 1) for length in prompts} | {f"tg{tokens}": (1, tokens)}
        return {name: self._rate(*test) for name, test in tests.items()}

    def _rate(self, batch, steps):
        past = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in self.past.items()}
        choice, seconds = np.random.default_rng(0), 0.0
        for step in range(steps):
            total = (step + 1) * batch
            positions = np.arange(total - batch, total)[None]
            ids = choice.integers(0, 49152, (1, batch))
            feed = {"input_ids": ids, "attention_mask": np.ones((1, total), np.int64), "position_ids": positions, **past}
            begin = time.perf_counter()
            _, *present = self.session.run(self.outputs, feed)
            seconds += time.perf_counter() - begin
            past = dict(zip(self.past, present))
        return batch * steps / seconds
