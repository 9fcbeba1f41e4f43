"""The configuration: its keys and types, the rules that types cannot say, and how it is read."""

from lmladder.config.reading import dotted, from_mapping, one_line, typed
from lmladder.config.rules import (
    CHOICES,
    OPTIMIZER_SETTINGS,
    SCHEDULE_SETTINGS,
    validate_architecture,
    validate_rung,
)
from lmladder.config.schema import (
    BigramConfig,
    Config,
    DataConfig,
    EvaluateConfig,
    MlpArchitecture,
    MlpConfig,
    OptimizerConfig,
    RungConfig,
    RuntimeConfig,
    SampleConfig,
    ScheduleConfig,
    SplitConfig,
    TokenizerConfig,
    TrainingConfig,
    TransformerArchitecture,
    TransformerConfig,
)
