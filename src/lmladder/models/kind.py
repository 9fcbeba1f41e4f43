"""Kinds of rungs: what code that serves all of them asks of a class.

A kind has one checkpoint with one or more models: the count models share one. `registry.py` lists
the built-in kinds, `own.py` loads those of users.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from lmladder.data import Prepared
from lmladder.models.contract import LanguageModel
from lmladder.system.settings import Settings as BaseSettings
from lmladder.system.settings import validate
from lmladder.training.checkpoint import Checkpoint

from pydantic import Field, create_model

GROUPS = ("rungs", "mixtures")  # of further rungs
GRAY, BLUE, ORANGE, GREEN = "#6e7781", "#0072B2", "#D55E00", "#009E73"
INK = "#24292f"

Log = Callable[[Checkpoint], None]  # receives each state of a run that has a new row of history


def no_log(state: Checkpoint) -> None:
    """Ignore a state."""


class Kind:
    """A kind of rung.

    Attributes
    ----------
    Settings : of its models: what determines their shape, or what they count
    RunSettings : of a rung besides these
    label : of a model in tables and figures; empty: its name
    labels : the same by the beginning of the names of models, if there are several
    color : of its models in figures; None: the next free one
    in_rungs : whether the mapping `rungs` may have rungs of this kind
    by_steps : whether it is trained in steps, so that its checkpoint has a history
    deterministic : whether the seed has no effect
    is_truth : whether the model is the distribution that the text was drawn from
    is_foreign : whether code that is not part of lmladder computes its predictions
    executes : whether a rung executes the Python file that its settings name
    source : the file that defines it; None: it is built in
    """

    Settings: ClassVar[type[BaseSettings]] = BaseSettings
    RunSettings: ClassVar[type[BaseSettings]] = BaseSettings
    label: ClassVar[str] = ""
    labels: ClassVar[dict[str, str]] = {}
    color: ClassVar[str | None] = None
    in_rungs: ClassVar[bool] = True
    by_steps: ClassVar[bool] = False
    deterministic: ClassVar[bool] = True
    is_truth: ClassVar[bool] = False
    is_foreign: ClassVar[bool] = False
    executes: ClassVar[bool] = False
    source: ClassVar[Path | None] = None

    @classmethod
    def fit(
        cls, start: Checkpoint, settings: Any, text: Prepared, folder: Path, log: Log = no_log
    ) -> Checkpoint:
        """Return the checkpoint of a fitted rung.

        Parameters
        ----------
        start : all that determines the result, without arrays but those of members of a mixture
        settings : of the rung
        folder : existing; what a run that can be continued writes there
        """
        raise NotImplementedError

    @classmethod
    def restore(cls, settings: Any, checkpoint: Checkpoint) -> dict[str, LanguageModel]:
        """Return the models of a checkpoint by name, weakest first.

        Parameters
        ----------
        settings : of the models

        Raises
        ------
        ValueError
            If its arrays are not those of such models.
        """
        raise NotImplementedError


KINDS: dict[str, type[Kind]] = {}  # those that are known now, by name


def restore(checkpoint: Checkpoint) -> dict[str, LanguageModel]:
    """Return the models of a checkpoint of known kinds; see `Kind.restore`."""
    return KINDS[checkpoint.kind].restore(model_settings(checkpoint), checkpoint)


def model_settings(checkpoint: Checkpoint) -> BaseSettings:
    """Return the settings of the models of a checkpoint, without those of their training.

    Raises InputError if its configuration is not that of such models.
    """
    schema = KINDS[checkpoint.kind].Settings
    names = schema.model_fields.keys()
    return validate(schema, {k: each for k, each in checkpoint.config.items() if k in names})


def rung_settings(name: str, *, watched: bool = False) -> type[BaseSettings]:
    """Return the settings of a rung: its kind, those of its models, and those of its fit.

    Parameters
    ----------
    watched : whether the rung is in `rungs`, where it also names what DVC watches for it
    """
    kind = KINDS[name]
    facts: dict[str, Any] = {"kind": (Literal[name], Field(description="kind of model"))}
    if watched:
        meaning = "the file or folder whose change makes DVC fit the rung again"
        facts["watch"] = (str, Field(description=meaning))
    bases = tuple(dict.fromkeys((kind.Settings, kind.RunSettings)))
    made: type[BaseSettings] = create_model(f"{kind.__name__}Rung", __base__=bases, **facts)
    return made


def kind_name(class_name: str) -> str:
    """Return the name of the kind of a class: that of MyKind is my_kind."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name).lower()
