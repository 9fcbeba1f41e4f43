"""The settings of each kind of model: what determines its shape, or what it counts."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from lmladder.models.registry import KINDS
from lmladder.system.errors import InputError
from lmladder.system.settings import setting

MEMBERS = "members"  # how the names of the arrays of the members of a mixture begin
MAX_ROWS = 10_000  # of weights of a mixture
MAX_PAIRS = 1 << 14  # of tokens with a vector of their own, in bigram_embeddings
ADD_K_NAMES = ("unigram", "bigram", "trigram")
ACTIVATIONS = ("relu", "relu_squared", "tanh", "gelu", "gelu_tanh")


@dataclass
class CountSettings:
    """The count models, from uniform to Kneser-Ney, which share one set of counts."""

    add_k: float = setting("added to each count of unigram, bigram and trigram", above=0)
    kneser_ney_orders: list[int] = setting(
        "n-gram orders of the Kneser-Ney models, one model each", at_least=1, at_most=100
    )

    @property
    def models(self) -> list[str]:
        """The names of the models, weakest first."""
        orders = sorted(set(self.kneser_ney_orders))
        return ["uniform", *ADD_K_NAMES, *(f"kneser_ney_{order}" for order in orders)]


@dataclass
class MlpSettings:
    """A neural probabilistic language model (Bengio et al. 2003)."""

    context_length: int = setting("maximum number of tokens that the model reads", at_least=1)
    embedding_size: int = setting("elements of a token's embedding", at_least=1)
    hidden_sizes: list[int] = setting("elements of each hidden layer", at_least=1)
    activation: str = setting("of the hidden layers", choices=ACTIVATIONS)

    sizes: ClassVar[tuple[str, ...]] = ("hidden_sizes", "embedding_size", "context_length")

    def estimate(self, vocabulary_size: int) -> tuple[int, int]:
        """Return lower bounds: weights, and values per token stored for the backward pass."""
        widths = [self.context_length * self.embedding_size, *self.hidden_sizes]
        weights = vocabulary_size * (self.embedding_size + widths[-1])
        weights += sum(n_in * n_out for n_in, n_out in pairwise(widths))
        return weights, sum(widths) + vocabulary_size


@dataclass
class TransformerSettings:
    """A decoder-only Transformer with pre-norm blocks."""

    n_layer: int = setting("number of blocks", at_least=1)
    n_head: int = setting("attention heads of a block; divides d_model", at_least=1)
    d_model: int = setting("elements of a token's vector", at_least=1)
    context_length: int = setting("maximum number of tokens that the model reads", at_least=1)
    activation: str = setting("of the feed-forward layers", choices=ACTIVATIONS)
    dropout: float = setting("fraction of elements dropped in training", at_least=0, below=1)
    feed_forward_factor: float = setting(
        "width of the feed-forward layer in d_model", default=4.0, above=0
    )
    norm: str = setting(
        "kind of normalization", default="layernorm", choices=("layernorm", "rmsnorm")
    )
    norm_weights: bool = setting("norms learn a scale and, with bias, a shift", default=True)
    embedding_norm: bool = setting("a norm after the embeddings", default=False)
    final_norm: bool = setting("a norm before the head", default=True)
    qk_norm: bool = setting(
        "queries and keys have root mean square 1 by head (Henry et al. 2020)", default=False
    )
    gated_attention: bool = setting(
        "what each head returns is multiplied by a gate (Qiu et al. 2025)", default=False
    )
    positions: str = setting("position encoding", default="learned", choices=("learned", "rotary"))
    convolution: int = setting(
        "lags of the convolutions before attention and feed-forward layers; 0: none",
        default=0,
        at_least=0,
    )
    bigram_embeddings: bool = setting(
        "an embedding of the token and the one before is added to that of the token", default=False
    )
    pointer: int = setting(
        "size of the queries and keys of a pointer to tokens of the context (Merity et al. 2017); "
        "0: none",
        default=0,
        at_least=0,
    )
    bias: bool = setting("biases in linear layers and layer norms", default=True)
    attention_bias: bool = setting("biases in attention, where bias is true", default=True)
    tied: bool = setting("the head shares the matrix of the token embeddings", default=True)
    init_std: float = setting("standard deviation of the initial weights", default=0.02, above=0)
    residual_scaling: bool = setting(
        "initial weights that end a branch are divided by sqrt(2 n_layer)", default=True
    )

    sizes: ClassVar[tuple[str, ...]] = (
        "n_layer", "d_model", "feed_forward_factor", "context_length",
    )  # fmt: skip

    @property
    def max_sequence_length(self) -> int:
        """The length of the longest sequence that the model can read."""
        return self.context_length

    @property
    def feed_forward_size(self) -> int:
        """Elements of the hidden layer of a feed-forward layer."""
        return round(self.feed_forward_factor * self.d_model)

    @property
    def output_std(self) -> float:
        """Standard deviation of the initial weights that end a branch.

        2 n_layer branches are added to the residual stream; scaling keeps its variance (GPT-2).
        """
        return self.init_std / ((2 * self.n_layer) ** 0.5 if self.residual_scaling else 1)

    def estimate(self, vocabulary_size: int) -> tuple[int, int]:
        """Return lower bounds: weights, and values per token stored for the backward pass."""
        tables = vocabulary_size * (1 if self.tied else 2)
        if self.positions == "learned":
            tables += self.context_length
        block = (4 * self.d_model + 2 * self.feed_forward_size) * self.d_model
        weights = tables * self.d_model + self.n_layer * block
        weights += 2 * self.n_layer * self.convolution * self.d_model
        if self.bigram_embeddings:
            weights += min((vocabulary_size + 1) * vocabulary_size, MAX_PAIRS) * self.d_model
        if self.pointer:
            weights += (2 * self.d_model + 2) * self.pointer + self.d_model + 1
        # Two norms, queries, keys, values, the attention output, and one hidden layer.
        width = int((6 + self.feed_forward_factor) * self.d_model)
        stored = self.n_layer * width + vocabulary_size * (4 if self.pointer else 1)
        return weights, stored

    def check(self, path: str) -> None:
        d_model, n_head = f"{path}d_model={self.d_model}", f"{path}n_head={self.n_head}"
        factor = self.feed_forward_factor
        if self.d_model % self.n_head:
            raise InputError(f"{n_head} does not divide {d_model}")
        if self.positions == "rotary" and self.d_model // self.n_head % 2:
            raise InputError(
                f"{path}positions=rotary rotates pairs: {d_model} / {n_head} must be even"
            )
        if not 1 <= factor * self.d_model < float("inf"):
            raise InputError(
                f"{path}feed_forward_factor={factor} times {d_model} must be at least 1"
            )


@dataclass
class OracleSettings:
    """The true distribution of a text that a grammar generates; nothing can be set."""


@dataclass
class CallableSettings:
    """A Python function that returns the log probabilities of the next token."""

    watch: str = setting("the Python file that defines the function")
    function: str = setting("the name of the function")
    context_length: int = setting("maximum number of tokens that it receives", at_least=1)
    parameters: int = setting("the number of learned values, for the table", at_least=1)


@dataclass
class MixtureSettings:
    """A weighted sum of the distributions of other models."""

    members: list[str] = setting("the models, by their names in the table")
    weights_by: list[str] = setting(
        "members on whose entropies the weights depend; []: constant weights", default=[]
    )
    knots: int = setting(
        "of each entropy: quantiles between which weights are interpolated",
        default=5,
        at_least=2,
        at_most=100,
    )
    prior: float = setting(
        "tokens with constant weights that are added to each combination of knots",
        default=5.0,
        above=0,
    )
    iterations: int = setting("of expectation maximization", default=50, at_least=1)
    checkpoint: str = setting(
        "of each trained member", default="latest", choices=("latest", "best")
    )
    min_context: float = setting(
        "as evaluate.min_context, in the text that weights are fitted on",
        default=0.5,
        at_least=0,
        below=1,
    )
    batch_tokens: int = setting(
        "read at a time, as evaluate.batch_tokens", default=8192, at_least=1
    )
    rungs: dict[str, Any] = setting("of the members; not to be set", default={}, family=KINDS)
    watch: str | None = setting("no file: a mixture depends on its members", default=None)

    def check(self, path: str) -> None:
        for name in ("members", "weights_by"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise InputError(f"{path}{name} must name each model once, got {given}")
        if not self.members:
            raise InputError(f"{path}members must name at least one model")
        if unknown := set(self.weights_by) - set(self.members):
            raise InputError(f"{path}weights_by: {min(unknown)!r} is not one of the members")
        if self.knots ** len(self.weights_by) > MAX_ROWS:
            raise InputError(
                f"{path}knots={self.knots} to the power of {len(self.weights_by)} members in "
                f"{path}weights_by must be at most {MAX_ROWS:,}"
            )
