"""Causal language models of `transformers`, in a local folder.

Weights are read from safetensors only, and nothing from the network; code in the folder is never
executed. The tokenizer is that in tokenizer.json, without the special tokens that a chat would have
around a text. A model reads windows of a text without a token before them, like any other rung.
"""

from collections.abc import Mapping
from pathlib import Path

from lmladder.data.reading import read_json
from lmladder.models import FittedAtOnce
from lmladder.models.contract import Decoder
from lmladder.models.guests import DIGEST, GuestTokenizer, digest
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.settings import Count, Settings

import numpy as np
from pydantic import Field

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
MAX_ELEMENTS = 1 << 25  # log probabilities computed at a time: 256 MB
PROBE = 8  # tokens, of which the last may not affect the predictions before it


class HuggingFaceSettings(Settings):
    """Which folder, and how it reads a text."""

    path: str = Field(description="the folder of the model")
    context_length: Count | None = Field(
        description="maximum number of tokens that the model reads; null: as its config.json has it"
    )
    min_context: float = Field(
        ge=0, lt=1, description="as evaluate.min_context, for the loss in metrics.json"
    )


class HuggingFaceTokenizer(GuestTokenizer):
    """The tokenizer in a folder, of which the vocabulary has as many tokens as that of its model.

    Raises
    ------
    InputError
        If the folder has no tokenizer.json, or a file is not valid.
    """

    name = "hugging_face"

    def __init__(self, path: str) -> None:
        import tokenizers

        config = read_json(Path(path) / CONFIG)
        size = config.get("vocab_size")
        if type(size) is not int or size < 1:
            raise InputError(f"{path}/{CONFIG}: vocab_size must be an integer, got {size!r}")
        end = config.get("eos_token_id")  # often that of another vocabulary, or several
        super().__init__(range(size), end if type(end) is int and end < size else None)
        self.path, file = path, Path(path) / TOKENIZER
        if not file.is_file():
            raise InputError(f"{path} has no tokenizer: there is no {file}")
        try:
            self._engine = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises no other class
            raise InputError(f"{file} is not a tokenizer: {error}") from None
        self._engine.no_truncation()
        self._engine.no_padding()

    def located(self, text: str) -> tuple[list[int], list[int]]:
        try:
            found = self._engine.encode(text, add_special_tokens=False)
        except Exception as error:  # for example an unknown character; of no other class
            raise InputError(f"the tokenizer of {self.path} cannot encode it: {error}") from None
        if max(found.ids, default=0) >= self.vocabulary_size:
            raise InputError(f"{self.path}: the tokenizer has tokens that its model does not have")
        return found.ids, [start for start, _ in found.offsets]

    def _text_of(self, ids: IntArray) -> str:
        return str(self._engine.decode(ids.tolist(), skip_special_tokens=False))


class HuggingFace(FittedAtOnce):
    """A model in a folder, with its tokenizer.

    Raises
    ------
    InputError
        If `transformers` cannot load it without code and pickles, or it is not causal.
    """

    Settings = HuggingFaceSettings

    @staticmethod
    def learn(
        settings: HuggingFaceSettings, tokens: IntArray, vocabulary_size: int
    ) -> Mapping[str, Array]:
        """Return the digest of the files in the folder."""
        return digest(settings.path)

    def __init__(
        self, settings: HuggingFaceSettings, vocabulary_size: int, arrays: Mapping[str, Array]
    ):
        path = settings.path
        if not np.array_equal(digest(path)[DIGEST], arrays[DIGEST]):
            raise InputError(
                f"{path} has changed since the checkpoint was made; make it again with `dvc repro`"
            )
        self.tokenizer = HuggingFaceTokenizer(path)
        self.vocabulary_size = self.tokenizer.vocabulary_size
        try:
            import torch
            import transformers
        except ImportError as error:
            raise InputError(
                f"the kind hugging_face needs {error.name}; run: pip install -e '.[interop]'"
            ) from None
        self._torch = torch
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        try:
            self._model, report = transformers.AutoModelForCausalLM.from_pretrained(
                path,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # of many classes
            reason = " ".join(str(error).split())
            raise InputError(f"transformers cannot load {path}: {reason}") from None
        if missing := sorted(report["missing_keys"]):
            raise InputError(f"{path} has no weights for {missing[0]} of its model")
        self._model.eval()
        longest = settings.context_length or getattr(
            self._model.config.get_text_config(), "max_position_embeddings", None
        )
        if longest is None:
            raise InputError(f"{path}/{CONFIG} has no maximum length; give context_length")
        self.context_length = self.max_length = int(longest)
        self.n_parameters = sum(each.numel() for each in self._model.parameters())
        self._require_causal(path)

    def _require_causal(self, path: str) -> None:
        """Raise InputError unless predictions are independent of later tokens."""
        tokens = np.zeros((2, min(PROBE, self.context_length)), np.int64)
        tokens[1, -1] = self.vocabulary_size - 1
        logs = self._logs(tokens)
        if logs.shape[-1] != self.vocabulary_size:
            raise InputError(
                f"{path} has {logs.shape[-1]} logits for {self.vocabulary_size} tokens"
            )
        if not np.allclose(logs[0, :-1], logs[1, :-1], rtol=0, atol=1e-3):
            raise InputError(f"{path} is not a causal model: predictions depend on later tokens")

    def _logs(self, tokens: IntArray, last: int = 0) -> FloatArray:
        """Return log probabilities after each position, or after the `last` ones only."""
        with self._torch.inference_mode():
            ids = self._torch.from_numpy(np.array(tokens, np.int64))
            logits = self._model(ids, use_cache=False).logits[:, -last:]
            return self._torch.log_softmax(logits.double(), dim=-1).numpy()

    def nll(self, tokens: IntArray) -> FloatArray:
        targets = np.asarray(tokens[:, 1:], np.int64)
        size = max(1, MAX_ELEMENTS // (max(1, targets.shape[1]) * self.vocabulary_size))
        nats = np.empty(targets.shape)
        for first in range(0, len(tokens), size):
            part = slice(first, first + size)
            logs = self._logs(tokens[part, :-1])
            nats[part] = -np.take_along_axis(logs, targets[part, :, None], -1)[..., 0]
        return nats

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        return self._logs(tokens)

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        return self._logs(tokens, last=1)[:, 0]

    def decoder(self) -> Decoder:
        return Decoder(self)
