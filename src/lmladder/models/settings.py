"""The settings of each kind of model: what determines its shape, or what it counts."""

from dataclasses import dataclass
from typing import Any

from lmladder.data.settings import WatchedFile
from lmladder.models.registry import KINDS
from lmladder.system.errors import InputError
from lmladder.system.settings import setting

MAX_TABLE = 1 << 26  # elements of a sinusoidal position table, which no checkpoint contains
MEMBERS = "members"  # how the names of the arrays of the members of a mixture begin
MAX_ROWS = 10_000  # of weights of a mixture
MAX_PAIRS = 1 << 14  # of tokens with a vector of their own, in bigram_embeddings
ADD_K_NAMES = ("unigram", "bigram", "trigram")
ACTIVATIONS = ("relu", "relu_squared", "tanh", "sigmoid", "gelu", "gelu_tanh", "silu")


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
class LayerSettings:
    """The settings that the MLP and the recurrent networks share."""

    context_length: int = setting("maximum number of tokens that the model reads", at_least=1)
    embedding_size: int = setting("elements of a token's embedding", at_least=1)
    hidden_sizes: list[int] = setting("elements of each hidden layer", at_least=1)


@dataclass
class MlpSettings(LayerSettings):
    """A neural probabilistic language model (Bengio et al. 2003)."""

    activation: str = setting("of the hidden layers", choices=ACTIVATIONS)


@dataclass
class RecurrentSettings(LayerSettings):
    """A simple recurrent network (Elman 1990)."""

    def check(self, path: str) -> None:
        if not self.hidden_sizes:
            raise InputError(f"{path}hidden_sizes must have at least one layer")

    @property
    def max_sequence_length(self) -> int:
        """The length of the longest sequence that the model can read."""
        return self.context_length


@dataclass
class GruSettings(RecurrentSettings):
    """Gated recurrent units (Cho et al. 2014)."""


@dataclass
class TransformerSettings:
    """A decoder-only Transformer with pre-norm blocks."""

    n_layer: int = setting("number of blocks", at_least=1)
    n_head: int = setting("attention heads of a block; divides d_model", at_least=1)
    d_model: int = setting("elements of a token's vector", at_least=1)
    context_length: int = setting("maximum number of tokens that the model reads", at_least=1)
    activation: str = setting("of the feed-forward layers", choices=ACTIVATIONS)
    dropout: float = setting("fraction of elements dropped in training", at_least=0, below=1)
    gated: bool = setting(
        "a third matrix gates the feed-forward layer (Shazeer 2020)", default=False
    )
    feed_forward_factor: float = setting(
        "width of the feed-forward layer in d_model; a gated one has two thirds of it",
        default=4.0,
        above=0,
    )
    norm: str = setting(
        "kind of normalization", default="layernorm", choices=("layernorm", "rmsnorm", "none")
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
    positions: str = setting(
        "position encoding",
        default="learned",
        choices=("learned", "sinusoidal", "rotary", "none"),
    )
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

    @property
    def max_sequence_length(self) -> int:
        """The length of the longest sequence that the model can read."""
        return self.context_length

    @property
    def feed_forward_size(self) -> int:
        """Elements of a feed-forward layer; a gated one has three matrices, so two thirds of it."""
        width = self.feed_forward_factor * self.d_model
        return round(width * 2 / 3 if self.gated else width)

    @property
    def output_std(self) -> float:
        """Standard deviation of the initial weights that end a branch.

        2 n_layer branches are added to the residual stream; scaling keeps its variance (GPT-2).
        """
        return self.init_std / ((2 * self.n_layer) ** 0.5 if self.residual_scaling else 1)

    def check(self, path: str) -> None:
        d_model, n_head = f"{path}d_model={self.d_model}", f"{path}n_head={self.n_head}"
        positions, factor = f"{path}positions={self.positions}", self.feed_forward_factor
        if self.d_model % self.n_head:
            raise InputError(f"{n_head} does not divide {d_model}")
        if self.positions == "rotary" and self.d_model // self.n_head % 2:
            raise InputError(f"{positions} rotates pairs: {d_model} / {n_head} must be even")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise InputError(f"{positions} consists of pairs: {d_model} must be even")
        if self.positions == "sinusoidal" and self.context_length * self.d_model > MAX_TABLE:
            raise InputError(
                f"{positions}: {path}context_length={self.context_length} times {d_model} "
                f"must be at most {MAX_TABLE:,}"
            )
        if not 1 <= factor * self.d_model < float("inf"):
            raise InputError(
                f"{path}feed_forward_factor={factor} times {d_model} must be at least 1"
            )


@dataclass
class OracleSettings:
    """The true distribution of a text that a grammar generates; nothing can be set."""


@dataclass
class GuestSettings(WatchedFile):
    """A model of another library, which is read from files of its own."""

    path: str = setting("the file of the model, or its folder")
    watch: str = setting("the same path, so that DVC sees that the model changed")


@dataclass
class HuggingFaceSettings(GuestSettings):
    """A causal language model of `transformers` in a local folder, with safetensors."""

    context_length: int | None = setting(
        "maximum number of tokens that the model reads; null: as its config.json has it",
        default=None,
        at_least=1,
    )
    min_context: float = setting(
        "as evaluate.min_context, for the loss in metrics.json", default=0.5, at_least=0, below=1
    )


@dataclass
class ArpaSettings(GuestSettings):
    """A backoff n-gram model in an ARPA file, as KenLM and SRILM write it."""

    space: str = setting("how a file of single characters writes a space", default="\u2581")
    newline: str = setting(
        "how a file writes a newline; </s>: each line is a sentence", default="</s>"
    )


@dataclass
class CallableSettings(GuestSettings):
    """A Python function that returns the log probabilities of the next token."""

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
