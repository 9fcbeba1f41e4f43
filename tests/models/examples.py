"""Small models, for the tests of models and of what uses them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmladder.autograd import CapturedLoss
from lmladder.data.tales import Grammar
from lmladder.interop.gpt2 import FIXED
from lmladder.models import KINDS, Decoder, LanguageModel, NeuralLanguageModel, load_files
from lmladder.models.counts import CountTables
from lmladder.models.mixture import Mixture, Weights
from lmladder.models.mlp import MlpSettings
from lmladder.models.ngram import CountSettings, count_ladder
from lmladder.models.oracle import Oracle
from lmladder.models.transformer import TransformerSettings
from lmladder.nn import ACTIVATIONS, NORMS
from lmladder.optim import Adam, AdamSettings
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.streams import stream

import numpy as np

VOCABULARY = 11
CONTEXT = 6
POSITIONS = ("learned", "rotary")

RUNGS = Path(__file__).parents[2] / "examples/rungs"
load_files(RUNGS.glob("*.py"))

COUNTS = CountSettings(add_k=0.5, kneser_ney_orders=[2, 4])
MLP = MlpSettings(context_length=CONTEXT, embedding_size=5, hidden_sizes=[12, 7], activation="tanh")
RECURRENT: Any = {"context_length": CONTEXT, "embedding_size": 5, "hidden_size": 7}
GRU = KINDS["gru"].Settings(**RECURRENT)
SHAPE: Any = FIXED | {"n_layer": 2, "n_head": 2, "d_model": 8, "context_length": CONTEXT}
TRANSFORMER = TransformerSettings(
    **SHAPE, activation="gelu_tanh", dropout=0.2, tied=True, init_std=0.02
)
MODERN = {"activation": "relu_squared", "norm": "rmsnorm", "qk_norm": True,
          "positions": "rotary", "bias": False, "tied": False, "convolution": 3,
          "gated_attention": True, "bigram_embeddings": True, "trigram_embeddings": 50,
          "pointer": 3, "window": 3, "last_window": 4}  # fmt: skip
BARE = {"activation": "relu", "dropout": 0.0, "norm": "rmsnorm", "norm_weights": False,
        "embedding_norm": True, "final_norm": False, "bias": False, "tied": False,
        "init_std": 0.05, "residual_scaling": False}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "mlp": MLP,
    "transformer": TRANSFORMER,
    "modern transformer": TRANSFORMER.model_copy(update=MODERN),
    "bare transformer": TRANSFORMER.model_copy(update=BARE),
}
OWN: dict[str, Any] = {  # of examples/rungs
    **{name: KINDS[name].Settings(**RECURRENT) for name in ("rnn", "gru", "lstm")},
    "min_gru": KINDS["min_gru"].Settings(context_length=CONTEXT, n_layer=2, d_model=8),
}
SETTINGS |= OWN
WITTEN_BELL = KINDS["witten_bell"].Settings(order=4)
CHOICES: list[dict[str, Any]] = [  # of a Transformer, one by one
    *({"norm": norm} for norm in NORMS),
    *({"positions": positions} for positions in POSITIONS),
    *({"activation": activation} for activation in ACTIVATIONS),
    {"feed_forward_factor": 1.0},
    {"norm_weights": False},
    {"norm": "rmsnorm", "norm_weights": False},
    {"pointer": 4},
    {"embedding_norm": True},
    {"final_norm": False},
    {"qk_norm": True},
    {"qk_norm": True, "positions": "rotary"},
    {"convolution": 3},
    {"gated_attention": True},
    {"window": 2, "last_window": 3},
    {"bigram_embeddings": True},
    {"trigram_embeddings": 20},
    {"bias": False},
    {"attention_bias": False},
    {"tied": False},
    {"init_std": 0.1, "residual_scaling": False},
]
MIXTURES = {  # the members by name, and whether the weights depend on their entropies
    "mixture": {"kneser_ney_4": True, "transformer": True, "mlp": False},
    "mixture of one": {"transformer": False},
    "mixture without limit": {"kneser_ney_2": False, "mlp": True},
}
EXACT_MIXTURES = {"mixture with the oracle": {"kneser_ney_2": False, "oracle": True}}
ALL_SETTINGS = SETTINGS | {
    f"transformer {each}": TRANSFORMER.model_copy(update=each) for each in CHOICES
}

TABLES = CountTables.count(stream(0, "text").integers(VOCABULARY, size=400), VOCABULARY, 4)
COUNT_MODELS: dict[str, Any] = {
    **count_ladder(TABLES, COUNTS),
    "witten_bell": KINDS["witten_bell"](WITTEN_BELL, VOCABULARY, TABLES.arrays()),
}

GRAMMAR: dict[str, Any] = {
    "lists": {"names": ["a", "ab", "cd", "ce"]},
    "variables": {"hero": "names", "other": "names"},
    "rules": {"story": ["{hero}{link}{other}{link}{hero}", "{hero}f{hero}", "{link}g"],
              "link": ["h", "hi"]},
}  # fmt: skip
ORACLE = Oracle(Grammar(GRAMMAR), np.array([10, *range(ord("a"), ord("k"))], np.uint32))


def build(
    settings: Any, vocabulary_size: int = VOCABULARY, *, seed: int = 0, spread: float = 0.0
) -> Any:
    """Return a neural model; a spread added to all parameters makes its predictions differ."""
    kind: Any = KINDS[kind_of(settings)]
    model: NeuralLanguageModel = kind(settings, vocabulary_size, rng=stream(seed, "weights"))
    for name, tensor in model.parameters().items():
        tensor.value += (spread * stream(1, name).standard_normal(tensor.shape)).astype("f4")
    return model


def changed(settings: Any, **changes: Any) -> Any:
    """Return settings with other values."""
    return settings.model_copy(update=changes)


def kind_of(settings: Any) -> str:
    return next(name for name, each in KINDS.items() if each.Settings is type(settings))


def model_named(name: str) -> LanguageModel:
    """Return a count model, the oracle, a neural one whose predictions differ, or a mixture."""
    if name in MIXTURES | EXACT_MIXTURES:
        return mixture((MIXTURES | EXACT_MIXTURES)[name])
    if name == "oracle":
        return ORACLE
    return COUNT_MODELS[name] if name in COUNT_MODELS else build(ALL_SETTINGS[name], spread=0.3)


def mixture(members: dict[str, bool]) -> Mixture:
    """Return a mixture of models by name; the weights depend on the entropies of some."""
    features = [index for index, feature in enumerate(members.values()) if feature]
    table = 0.1 + stream(0, "weights").random((3 ** len(features), len(members)))
    knots = np.tile([0.5, 1.5, 2.3], (len(features), 1))
    weights = Weights(knots, table / table.sum(axis=1, keepdims=True))
    return Mixture([model_named(name) for name in members], features, weights)


def draw(name: str, *shape: int) -> IntArray:
    """Return random tokens."""
    return stream(0, name).integers(VOCABULARY, size=shape)


def fit(model: NeuralLanguageModel, tokens: IntArray, *, rate: float, steps: int) -> None:
    """Train on one batch, with a linearly decreasing learning rate."""
    parameters = model.parameters()
    loss_of = CapturedLoss(model.loss, parameters.values())
    optimizer = Adam(
        parameters, AdamSettings(name="adam", learning_rate=rate, betas=[0.9, 0.99], epsilon=1e-8)
    )
    for step in range(steps):
        loss_of(tokens)
        optimizer.step(step, factor=1 - step / steps)
        for tensor in parameters.values():
            tensor.grad = None


class Fake:
    """A model made of functions."""

    n_parameters = 0

    def __init__(
        self,
        vocabulary_size: int,
        context_length: int = 1,
        max_length: int | None = None,
        *,
        nll: Callable[[IntArray], FloatArray] | None = None,
        logs: Callable[[IntArray], FloatArray] | None = None,
    ):
        self.vocabulary_size = vocabulary_size
        self.context_length, self.max_length = context_length, max_length
        self.nll: Any = nll
        self.next_log_probabilities: Any = logs

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        raise NotImplementedError

    def decoder(self) -> Decoder:
        return Decoder(self)
