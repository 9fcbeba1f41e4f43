"""The record of a stage that scores models: scores.json, the scores with all that made them.

A stage writes it last and atomically, and programs that compare runs read nothing else. Therefore a
score always has the settings that it was made with, whatever was run, edited or interrupted in its
folder since.
"""

import stat
from pathlib import Path
from typing import Annotated

from lmladder.evaluation.exact import Score
from lmladder.system.errors import InputError
from lmladder.system.files import write_json

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

SCORES = "scores.json"
MAX_BYTES = 1 << 24  # of a file; that of a large ladder has 200 kB
DECIMALS = 6

Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[float, AfterValidator(lambda value: round(value, DECIMALS))]  # finite


class _Frozen(BaseModel):
    # Unknown keys are ignored: they may be those of a later version.
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Scores(_Frozen):
    """The scores of a model on the validation text; None for those that its stage does not compute.

    Attributes
    ----------
    bits_per_byte, nats_per_token, perplexity : of the whole text, per token of the text, which may
        differ from the tokens of the model
    val_loss : nats per token of validation sequences, which begin without context
    """

    bits_per_byte: Number | None = None
    nats_per_token: Number | None = None
    perplexity: Number | None = None
    val_loss: Number | None = None


class ScoredModel(_Frozen):
    """A model and its scores.

    Attributes
    ----------
    kind, rung : kind of its rung, and the folder of the rung within a ladder, such as "rungs/deep"
    deterministic : whether the scores are the same for every seed
    scores : none if one is not finite
    losses : nats of each block of the text; empty if one is not finite
    tokens, bytes : length of the text in tokens of the model and in UTF-8 bytes; None where not the
        whole text was scored
    audit : "passed" or the checks that failed; empty for a built-in model, which is not audited
    """

    name: str
    kind: str
    rung: str
    deterministic: bool
    scores: Scores
    losses: Annotated[tuple[Number, ...], FailFast()]
    tokens: Count | None = None
    bytes: Count | None = None
    audit: str = ""


class Record(_Frozen):
    """The content of scores.json.

    Attributes
    ----------
    settings : the whole configuration of the run, without those that affect no result
    overrides : as given to Hydra, such as "recipe=base"
    digest : sha256 of the text and its tokenizer
    first, lengths : position of the first token and number of tokens of each block of the
        validation text
    models : in the order of the ladder
    """

    settings: dict[str, JsonValue]
    seed: Count
    overrides: Annotated[tuple[str, ...], FailFast()]
    digest: str
    first: Annotated[tuple[Count, ...], FailFast()]
    lengths: Annotated[tuple[Annotated[Count, Field(gt=0)], ...], FailFast()]
    models: Annotated[tuple[ScoredModel, ...], FailFast()]

    @model_validator(mode="after")
    def _require_losses_of_all_blocks(self) -> "Record":
        for each in self.models:
            if len({len(self.first), len(self.lengths), len(each.losses) or len(self.first)}) > 1:
                raise ValueError(f"{each.name} does not have a loss of each block")
        return self

    def score(self, model: ScoredModel) -> Score | None:
        """Return the score of a model on the whole validation text; None if there is none."""
        nats = model.scores.nats_per_token
        if nats is None or model.tokens is None or model.bytes is None:
            return None
        return Score(model.tokens, model.bytes, nats * sum(self.lengths), model.losses)

    def save(self, folder: Path) -> None:
        """Write the file in a folder atomically; equal records give equal bytes."""
        write_json(folder / SCORES, self.model_dump())


def read_record(folder: Path) -> Record:
    """Read the record in a folder, which may have been written by anyone.

    Raises
    ------
    InputError
        In one line, if the file is missing, is not a regular file, is too large or is damaged.
    """
    path = folder / SCORES
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_BYTES:
            raise InputError(f"{path} is not a file of at most {MAX_BYTES:,} bytes")
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path} is damaged: {f'{where}: ' * bool(where)}{first['msg']}") from None
