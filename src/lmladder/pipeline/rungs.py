"""The rungs of a configuration: where each has its results, and its checkpoint."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lmladder.config import STAGES, Config
from lmladder.data import Prepared
from lmladder.models.registry import KINDS, Kind
from lmladder.system.errors import InputError
from lmladder.system.settings import did_you_mean
from lmladder.training.checkpoint import BEST, LATEST, Checkpoint


@dataclass(frozen=True)
class Rung:
    """A rung of a configuration.

    Attributes
    ----------
    name : of its settings: "mlp", or what it is called in `rungs`
    stage : of dvc.yaml, which fits it
    folder : of its results, within the folder of a ladder
    settings : the dataclass that its kind has
    """

    name: str
    stage: str
    folder: str
    settings: Any

    @property
    def kind(self) -> Kind:
        return KINDS[self.settings.kind]

    @property
    def model(self) -> str:
        """What its model is called in the table, if it has but one."""
        return self.name if self.stage == "rung" else str(self.settings.kind)

    @property
    def command(self) -> str:
        """What to type to fit it."""
        return f"dvc repro {self.name if self.stage == self.name else f'rung@{self.name}'}"

    def first_checkpoint(self, seed: int, prepared: Prepared) -> Checkpoint:
        """The checkpoint of a run that has not begun: all that decides it, no arrays."""
        return Checkpoint(
            name=self.model,
            kind=self.settings.kind,
            config=asdict(self.settings),
            seed=seed,
            vocabulary_size=prepared.tokenizer.vocabulary_size,
            tokenizer=prepared.tokenizer.to_json(),
            data_digest=prepared.digest,
        )

    def load(self, seed: int, prepared: Prepared, which: str = "latest") -> Checkpoint:
        """Its latest or best checkpoint, beside the text, if this configuration made it.

        Raises
        ------
        InputError
            If there is none, or it is of another text or of other settings; names the remedy.
        """
        latest = which == "latest" or self.kind.fit.deterministic
        path = prepared.directory.parent / self.folder / (LATEST if latest else BEST)
        if not path.exists():
            raise InputError(f"there is no {path}; run `{self.command}`")
        checkpoint = Checkpoint.load(path)
        if checkpoint.data_digest != prepared.digest:
            raise InputError(
                f"{path} was not trained on {prepared.directory}; run `{self.command}`"
            )
        asked = json.loads(json.dumps(asdict(self.settings)))  # tuples are lists in a checkpoint
        if (checkpoint.config, checkpoint.seed) != (asked, seed):
            raise InputError(
                f"{path} was trained with other settings than this run's; run "
                f"`python stages/compose.py` with the settings of this run, then `{self.command}`"
            )
        return checkpoint


def rungs_of(config: Config) -> Iterator[Rung]:
    """All rungs of a configuration, those of the named stages first."""
    for stage in STAGES:
        yield Rung(stage, stage, stage, getattr(config, stage))
    for name, settings in config.rungs.items():
        yield Rung(name, "rung", f"rungs/{name}", settings)


def rung_named(name: str, config: Config) -> Rung:
    """One of them; InputError, naming those that there are, if none has the name."""
    rungs = {rung.name: rung for rung in rungs_of(config)}
    if name not in rungs:
        raise InputError(f"no rung {name!r}; {did_you_mean(name, rungs)}")
    return rungs[name]
