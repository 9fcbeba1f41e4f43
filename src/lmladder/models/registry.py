"""The kinds of rungs, one entry each; all code that distinguishes kinds reads it here.

A kind has one checkpoint with one or more models: the count models share one. Classes and functions
are named here and imported on use, so that reading a configuration does not load NumPy. `own.py`
loads kinds that are not listed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lmladder.system.errors import InputError
from lmladder.system.settings import Component, Family, did_you_mean, import_object, setting

HERE, PLAY = "lmladder.models", "lmladder.reports.play"
GROUPS = {"rungs": "rung", "mixtures": "mixture"}  # of further rungs, and the stage that fits one
GRAY, BLUE, ORANGE, GREEN = "#6e7781", "#0072B2", "#D55E00", "#009E73"
INK = "#24292f"


@dataclass(frozen=True)
class Fit:
    """How the rungs of a kind are fitted.

    Attributes
    ----------
    function : "module:function" that fits a rung and writes its results; empty: the rung has no
        stage, because `again` makes its checkpoint from the prepared text at once
    restore : "module:function" that returns the models of a checkpoint
    settings : "module:Class" of the settings of a rung besides those of its model; None: none
    deterministic : whether the seed has no effect
    again : "module:function" that fits a checkpoint again and returns it; None: by training steps
    group : what contains its rungs: a mapping in the configuration, or the prepared text
    """

    function: str
    restore: str
    settings: str | None = None
    deterministic: bool = False
    again: str | None = None
    group: str = "rungs"


BY_GRADIENTS = Fit(
    "lmladder.pipeline.fitting:fit_by_gradients",
    f"{HERE}.neural:restore",
    "lmladder.training.settings:GradientSettings",
)
BY_COUNTING = Fit(
    "lmladder.pipeline.fitting:fit_by_counting",
    f"{HERE}.ngram:restore",
    deterministic=True,
    again="lmladder.training.fit:count",
)
BY_MIXING = Fit(
    "lmladder.pipeline.fitting:fit_at_once",
    f"{HERE}.mixture:restore",
    again="lmladder.evaluation.mixing:mix",
    group="mixtures",
)
FROM_GRAMMAR = Fit(
    "",
    f"{HERE}.oracle:restore",
    deterministic=True,
    again="lmladder.evaluation.truth:store_grammar",
    group="the prepared text, where its distribution is known",
)
OWN_FIT = Fit(
    "lmladder.pipeline.fitting:fit_at_once",
    f"{HERE}.own:restore",
    deterministic=True,
    again="lmladder.training.fit:fit_own",
)


@dataclass(frozen=True, eq=False)
class Kind(Component):
    """A kind of rung.

    Attributes
    ----------
    labels : of its models in tables and figures, by the beginning of their names
    color : of its models in figures; None: the next free one
    fit : how its rungs are fitted
    is_truth : whether the model is the distribution that the text was drawn from
    executes : whether a rung executes the Python file that its settings name
    source : the file that defines it; None: it is built in
    play : "module:function" that describes a rung to the playground; None: that cannot run it
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    color: str | None = None
    fit: Fit = BY_GRADIENTS
    is_truth: bool = False
    executes: bool = False
    source: Path | None = None
    play: str | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether code that is not part of lmladder computes its predictions."""
        return self.source is not None or self.executes


class Kinds(Family[Kind]):
    """The kinds of rungs; a rung has the settings of its model and of its fit in one dataclass.

    Attributes
    ----------
    own : the kinds that are not built in and have been loaded, by name; see `own.py`
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.own: dict[str, Kind] = {}

    def __getitem__(self, kind: str) -> Kind:
        """Return the entry of a kind; raise InputError, with the known names, if it is unknown.

        A kind that an installed package declares is loaded; see `own.py`.
        """
        if isinstance(kind, str) and kind not in self.kinds | self.own:
            from lmladder.models.own import load_installed

            load_installed(kind)
        known = self.kinds | self.own
        if not isinstance(kind, str) or kind not in known:  # a file may contain a list instead
            raise InputError(
                f"unknown {self.name} {kind!r}; {did_you_mean(str(kind), known)}; a kind of your "
                "own is loaded by --module FILE, or in a configuration by watch: FILE"
            )
        return known[kind]

    def settings(self, kind: str) -> type[Any]:
        model: Any = self.model_settings(kind)
        return _rung_settings(kind, self[kind].fit, model)

    def model_settings(self, kind: str) -> type[Any]:
        """Return the settings of a model alone, which determine its shape."""
        return super().settings(kind)


@dataclass
class Rung:
    """The settings that every rung has."""

    kind: str = setting("kind of model")
    watch: str | None = setting("the file whose change makes DVC fit the rung again")


@cache
def _rung_settings(name: str, fit: Fit, model: type[Any]) -> type[Any]:
    own = [import_object(fit.settings)] if fit.settings else []
    return make_dataclass(
        f"{name.capitalize()}Rung",
        [("kind", str, setting("kind of model", default=name))],
        bases=(*own, model, Rung),  # their fields are in the opposite order
    )


KINDS = Kinds(
    "kind of rung",
    HERE,
    {
        "counts": Kind(
            f"{HERE}.settings:CountSettings",
            labels={"kneser_ney": "Kneser-Ney"},
            color=GRAY,
            fit=BY_COUNTING,
            play=f"{PLAY}:counts",
        ),
        "mlp": Kind(
            f"{HERE}.settings:MlpSettings",
            f"{HERE}.mlp:Mlp",
            {"mlp": "MLP"},
            BLUE,
            play=f"{PLAY}:network",
        ),
        "transformer": Kind(
            f"{HERE}.settings:TransformerSettings",
            f"{HERE}.transformer:Transformer",
            color=ORANGE,
            play=f"{PLAY}:network",
        ),
        "mixture": Kind(
            f"{HERE}.settings:MixtureSettings", color=GREEN, fit=BY_MIXING, play=f"{PLAY}:mixture"
        ),
        "oracle": Kind(
            f"{HERE}.settings:OracleSettings",
            color=INK,
            fit=FROM_GRAMMAR,
            is_truth=True,
            play=f"{PLAY}:oracle",
        ),
        "callable": Kind(
            f"{HERE}.settings:CallableSettings",
            f"{HERE}.guests:Function",
            fit=OWN_FIT,
            executes=True,
        ),
    },
    key="kind",
)


def label(model: str, kind: str) -> str:
    """Return the label of a model of this kind, such as "MLP" or "Kneser-Ney 5"."""
    for start, text in (KINDS[kind].labels if kind else {}).items():
        if model == start or model.startswith(f"{start}_"):
            model = text + model.removeprefix(start)
    return model[:1].upper() + model[1:].replace("_", " ")
