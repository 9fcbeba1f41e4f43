"""The record of a stage that scores models: scores.json, the scores with all that made them.

A stage writes it last and atomically, and programs that compare runs read nothing else. Therefore a
score always has the settings that it was made with, whatever was run, edited or interrupted in its
folder since.
"""

from pathlib import Path
from typing import Annotated, Any

from lmladder.data.reading import opened
from lmladder.system.errors import InputError, printable
from lmladder.system.files import write_json
from lmladder.system.settings import Count, Index
from lmladder.system.settings import Record as BaseRecord

from pydantic import AfterValidator, ValidationError

SCORES = "scores.json"
DECIMALS = 6

Text = Annotated[str, AfterValidator(printable)]  # that cannot control a terminal
Number = Annotated[float, AfterValidator(lambda value: round(value, DECIMALS))]  # finite


class Scores(BaseRecord):
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


class ScoredModel(BaseRecord):
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

    name: Text
    kind: Text
    rung: Text
    deterministic: bool
    scores: Scores
    losses: tuple[Number, ...]
    tokens: Count | None = None
    bytes: Count | None = None
    audit: Text = ""


class Record(BaseRecord):
    """The content of scores.json.

    Attributes
    ----------
    settings : of the run, without those that affect no result, such as those of other rungs
    overrides : as given to Hydra, such as "recipe=base"
    digest : sha256 of the text and its tokenizer
    first, lengths : position of the first token and number of tokens of each block of the
        validation text
    models : in the order of the ladder
    """

    settings: dict[str, Any]
    seed: Index
    overrides: tuple[Text, ...]
    digest: Text
    first: tuple[Index, ...]
    lengths: tuple[Count, ...]
    models: tuple[ScoredModel, ...]

    def save(self, folder: Path) -> None:
        """Write the file in a folder atomically; equal records give equal bytes."""
        write_json(folder / SCORES, self.model_dump())


def read_record(folder: Path) -> Record:
    """Read the record in a folder; InputError, in one line, if it is missing or damaged."""
    path = folder / SCORES
    try:
        with opened(path, "rb") as file:
            return Record.model_validate_json(file.read())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = "".join(f"{each}: " for each in first["loc"])
        raise InputError(f"{path} is damaged: {where}{first['msg']}") from None
