"""llama.cpp through its own C interface, measured as its llama-bench does: `pp` feeds a prompt at once, `tg` token by token.

Nothing is sampled, logits are computed for the last token alone, the context is as long as the test asks for.
"""

import random
import time

import numpy as np
from llama_cpp import llama_cpp as low

BATCH, MICRO_BATCH = 2048, 512


@low.llama_log_callback
def _silent(_level, _text, _data):
    pass


def start():
    low.llama_log_set(_silent, None)
    low.llama_backend_init()
    return low.llama_print_system_info().decode().strip(" |\n")


class Model:
    """One file, with flash attention off and on: the faster one counts."""

    def __init__(self, path, threads, context):
        params = low.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = low.llama_model_load_from_file(str(path).encode(), params)
        self.vocabulary = low.llama_model_get_vocab(self.model)
        self.contexts = {flash: self._context(flash, threads, context) for flash in (0, 1)}

    def _context(self, flash, threads, context):
        params = low.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, BATCH, MICRO_BATCH
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = flash
        return low.llama_init_from_model(self.model, params)

    def measure(self, tokens, prompts):
        """Tokens per second by test; the better of flash attention off and on."""
        tests = {f"pp{length}": (length, 1) for length in prompts} | {f"tg{tokens}": (1, tokens)}
        return {name: max(self._rate(context, *test) for context in self.contexts.values()) for name, test in tests.items()}

    def _rate(self, context, batch, steps):
        low.llama_memory_clear(low.llama_get_memory(context), True)
        choice, count = random.Random(0), low.llama_vocab_n_tokens(self.vocabulary)
        seconds = 0.0
        for _ in range(steps):
            tokens = [choice.randrange(count) for _ in range(batch)]
            begin = time.perf_counter()
            self._decode(context, tokens)
            seconds += time.perf_counter() - begin
        return batch * steps / seconds

    def _decode(self, context, tokens):
        array = (low.llama_token * len(tokens))(*tokens)
        if low.llama_decode(context, low.llama_batch_get_one(array, len(tokens))):
            raise RuntimeError("llama_decode fails")
        low.llama_synchronize(context)

    def losses(self, tokens):
        """Nats of every token but the first, given those before it."""
        context, size = self.contexts[0], low.llama_vocab_n_tokens(self.vocabulary)
        low.llama_memory_clear(low.llama_get_memory(context), True)
        batch = low.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for at, token in enumerate(tokens):
            batch.token[at], batch.pos[at], batch.logits[at] = token, at, 1
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
        if low.llama_decode(context, batch):
            raise RuntimeError("llama_decode fails")
        logits = np.ctypeslib.as_array(low.llama_get_logits(context), (len(tokens), size))[:-1].astype(np.float64)
        low.llama_batch_free(batch)
        peaks = logits.max(axis=1)
        return peaks + np.log(np.exp(logits - peaks[:, None]).sum(axis=1)) - logits[np.arange(len(tokens) - 1), tokens[1:]]

    def continuation(self, tokens, count):
        """The likeliest next tokens."""
        context, size = self.contexts[0], low.llama_vocab_n_tokens(self.vocabulary)
        low.llama_memory_clear(low.llama_get_memory(context), True)
        new, feed = [], list(tokens)
        for _ in range(count):
            self._decode(context, feed)
            logits = low.llama_get_logits_ith(context, -1)
            feed = [max(range(size), key=lambda i: logits[i])]
            new += feed
        return new
