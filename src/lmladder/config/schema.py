"""Every configuration key and its type. Values live in `conf/` only; here is what they may be.

Both doors, Hydra for people and params.yaml for DVC, are guarded by this schema: it refuses unknown
keys and wrong types before anything runs. What types cannot say stands in rules.py.
"""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class RuntimeConfig:
    """How to compute; of what comes out, at most the last digits."""

    threads: int | None = MISSING  # null: one a core
    kernels: str = MISSING  # numba or numpy


@dataclass
class SplitConfig:
    """Fractions of the corpus; they sum to 1."""

    train: float = MISSING
    val: float = MISSING
    test: float = MISSING


@dataclass
class DataConfig:
    """Which text, and how it is cut."""

    corpus: str = MISSING  # tales, shakespeare, names or file
    path: str | None = MISSING  # the grammar, the file, or a name in the cache of downloads
    watch: str = MISSING  # the file whose change makes `dvc repro` prepare the text anew
    url: str | None = MISSING
    sha256: str | None = MISSING
    documents: str = MISSING  # whole: one long text; lines, paragraphs: one document each
    characters: int | None = MISSING  # how much to tell; tales only
    seed: int = MISSING  # of the tales told and of the shuffle of documents
    split: SplitConfig = field(default_factory=SplitConfig)
    prompt: str | None = MISSING  # for samples.txt; null: how the validation text begins


@dataclass
class TokenizerConfig:
    """How text becomes numbers. What a tokenizer does not use is null."""

    name: str = MISSING  # byte, char, word or bpe; checkpoint: that of another model
    vocabulary_size: int | None = MISSING  # bpe and word, at most; null, word only: all words
    unknown: str | None = MISSING  # word: what a word outside the vocabulary is, error or unk
    path: str | None = MISSING  # of the checkpoint whose tokenizer it is
    watch: str = MISSING  # the file whose change makes `dvc repro` prepare the text anew


@dataclass
class SampleConfig:
    """The samples.txt that each rung writes."""

    prompt: str | None = MISSING
    tokens: int = MISSING
    temperature: float = MISSING  # 0: the likeliest token always
    top_k: int | None = MISSING  # null: all tokens
    top_p: float = MISSING  # 1: all tokens
    min_p: float = MISSING  # 0: all tokens
    repetition_penalty: float = MISSING  # 1: none
    beams: int | None = MISSING  # of a beam search, which knows none of the five above; null: draw
    samples: int = MISSING  # for each model
    stop: list[str] = MISSING  # texts before which a sample ends


@dataclass
class BigramConfig:
    """The count models."""

    add_k: float = MISSING  # added to each count of unigram, bigram and trigram
    kneser_ney_orders: list[int] = MISSING


@dataclass
class OptimizerConfig:
    """One optimizer. What it does not use (see OPTIMIZER_SETTINGS) is null."""

    name: str = MISSING  # sgd, adam, adamw or muon
    learning_rate: float = MISSING  # with muon, of what it leaves to adamw
    betas: tuple[float, float] | None = MISSING
    epsilon: float | None = MISSING
    weight_decay: float | None = MISSING  # of matrices, a step: learning_rate * weight_decay
    matrix_learning_rate: float | None = MISSING
    momentum: float | None = MISSING
    nesterov: bool | None = MISSING  # muon always looks ahead


@dataclass
class ScheduleConfig:
    """The learning rate's course: a rise over warmup_steps, then a fall to final_fraction."""

    name: str = MISSING  # constant, linear, cosine or wsd
    warmup_steps: int = MISSING
    final_fraction: float = MISSING
    decay_fraction: float | None = MISSING  # of all steps: the last ones, over which wsd falls

    def decay_steps(self, steps: int) -> int:
        """Of a run of so many, those over which the rate falls: at least one."""
        if self.decay_fraction is None:
            return steps - self.warmup_steps
        return max(1, round(self.decay_fraction * steps))


@dataclass
class TrainingConfig:
    """One training run."""

    steps: int = MISSING  # at most, where there is patience
    batch_size: int = MISSING  # rows a step, over all its micro-batches
    accumulate: int = MISSING  # micro-batches a step; divides batch_size, and memory with it
    row_length: int = MISSING  # tokens predicted in a row
    clip_norm: float | None = MISSING  # of all gradients together; null: no clipping
    evaluate_every: int = MISSING  # steps between two lines of history.csv and two checkpoints
    evaluate_tokens: int = MISSING  # how much of the validation text those lines score
    monitor_every: int | None = MISSING  # steps between gradient norms by group; null: never
    patience: int | None = MISSING  # evaluations without improvement, then it ends; null: never
    min_improvement: float = MISSING  # nats a token; for patience, less than this is none


@dataclass
class RungConfig:
    """What each neural rung has besides its architecture."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass
class MlpArchitecture:
    """The rung between counts and attention: an MLP, or a recurrent network in its place."""

    context_length: int = MISSING  # of a recurrent network: after so many tokens it begins anew
    embedding_size: int = MISSING
    hidden_sizes: list[int] = MISSING
    activation: str = MISSING  # of a recurrent network: tanh
    network: str = "mlp"  # mlp (Bengio et al. 2003), rnn (Elman 1990) or gru (Cho et al. 2014)


@dataclass
class MlpConfig(MlpArchitecture, RungConfig):
    """The MLP rung."""


@dataclass
class TransformerArchitecture:
    """A decoder-only Transformer with pre-norm blocks; by default GPT-2's.

    What has a default here has the same in `conf/`: so a checkpoint from before there was a choice
    still says what it holds.
    """

    n_layer: int = MISSING
    n_head: int = MISSING
    d_model: int = MISSING
    context_length: int = MISSING
    activation: str = MISSING
    dropout: float = MISSING
    gated: bool = False  # whether a third matrix gates the feed-forward layer (Shazeer 2020)
    feed_forward_factor: float = 4.0  # its width in d_model; a gated one has two thirds of that
    norm: str = "layernorm"  # layernorm, rmsnorm or none
    norm_weights: bool = True  # whether norms learn a scale, and with bias a shift
    embedding_norm: bool = False  # whether there is one after the embeddings
    final_norm: bool = True  # whether there is one before the head
    qk_norm: bool = False  # whether queries and keys have root mean square 1 by head
    positions: str = "learned"  # learned, sinusoidal, rotary or none
    bias: bool = True  # of linear layers and layer norms
    attention_bias: bool = True  # false: none in attention, even if `bias`
    tied: bool = True  # whether the head shares the matrix of the token embeddings
    init_deviation: float = 0.02  # standard deviation of initial weights
    residual_scaling: bool = True  # whether those that end a branch have it / sqrt(2 n_layer)


@dataclass
class TransformerConfig(TransformerArchitecture, RungConfig):
    """The Transformer rung."""

    init_from: str | None = MISSING  # the checkpoint with its first weights; null: they are drawn
    watch: str | None = MISSING  # the file whose change makes `dvc repro` train anew; never null


@dataclass
class EvaluateConfig:
    """How the table is made."""

    splits: list[str] = MISSING
    checkpoint: str = MISSING  # latest or best
    least_context: float = MISSING  # of a context; what a later window's first token sees at least
    batch_tokens: int = MISSING  # scored at a time; changes memory, and results by rounding only


@dataclass
class Config:
    """Everything."""

    seed: int = MISSING
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    bigram: BigramConfig = field(default_factory=BigramConfig)
    mlp: MlpConfig = field(default_factory=MlpConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
