"""The rungs of a configuration: their settings, folders and checkpoints."""

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
    name : of its settings: "mlp", or its key in `rungs`
    stage : the stage of dvc.yaml that fits it
    folder : of its results, within the folder of a ladder
    settings : the settings of its kind
    """

    name: str
    stage: str
    folder: str
    settings: Any

    @property
    def kind(self) -> Kind:
        return KINDS[self.settings.kind]

    @property
    def key(self) -> str:
        """The key of its settings in the configuration."""
        return self.folder.replace("/", ".")

    @property
    def model(self) -> str:
        """The name of its model in the table, if it has only one."""
        return self.name if self.stage == "rung" else str(self.settings.kind)

    @property
    def command(self) -> str:
        """The command that fits it."""
        return f"dvc repro {'rung@' if self.stage == 'rung' else ''}{self.name}"

    def first_checkpoint(self, seed: int, prepared: Prepared) -> Checkpoint:
        """Return the checkpoint of a run that has not begun: all that determines it, no arrays."""
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
        """Return its latest or best checkpoint, from the ladder that contains the text.

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
        config = json.loads(json.dumps(asdict(self.settings)))  # tuples are lists in a checkpoint
        if (checkpoint.config, checkpoint.seed) != (config, seed):
            raise InputError(
                f"{path} was trained with other settings than this run's; run "
                f"`python stages/compose.py` with the settings of this run, then `{self.command}`"
            )
        return checkpoint


def rungs_of(config: Config) -> Iterator[Rung]:
    """Yield all rungs of a configuration, those of the named stages first."""
    for stage in STAGES:
        yield Rung(stage, stage, stage, getattr(config, stage))
    for name, settings in config.rungs.items():
        yield Rung(name, "rung", f"rungs/{name}", settings)


def rung_named(name: str, config: Config) -> Rung:
    """Return the rung with this name; raise InputError, with a suggestion, if it is unknown."""
    rungs = {rung.name: rung for rung in rungs_of(config)}
    if name not in rungs:
        raise InputError(f"unknown rung {name!r}; {did_you_mean(name, rungs)}")
    return rungs[name]
