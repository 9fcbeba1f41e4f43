"""The rungs of a configuration: their settings, folders and checkpoints."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from lmladder.config import STAGES, Config
from lmladder.data import Prepared
from lmladder.models.registry import KINDS, Kind
from lmladder.models.settings import MEMBERS
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.system.settings import did_you_mean, import_object
from lmladder.training.checkpoint import BEST, LATEST, Checkpoint


@dataclass(frozen=True)
class Rung:
    """A rung of a configuration.

    Attributes
    ----------
    name : of its settings: "mlp", or its key in `rungs` or `mixtures`
    stage : the stage of dvc.yaml that fits it
    folder : of its results, within the folder of a ladder
    settings : the settings of its kind
    sources : the rungs from which a mixture takes its members
    """

    name: str
    stage: str
    folder: str
    settings: Any
    sources: tuple["Rung", ...] = ()

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
        return str(self.settings.kind) if self.stage in STAGES else self.name

    @property
    def models(self) -> list[str]:
        """The names of its models in the table."""
        return getattr(self.settings, "models", [self.model])

    @property
    def command(self) -> str:
        """The command that fits it."""
        return f"dvc repro {'' if self.stage in STAGES else f'{self.stage}@'}{self.name}"

    def first_checkpoint(self, seed: int, prepared: Prepared) -> Checkpoint:
        """Return the checkpoint of a run that has not begun: all that determines it.

        It has no arrays but those of the members of a mixture.
        """
        arrays: dict[str, Array] = {}
        for each in self.sources:
            member = each.load(seed, prepared, self.settings.checkpoint).model
            arrays |= {f"{MEMBERS}.{each.model}.{name}": array for name, array in member.items()}
        return Checkpoint(
            name=self.model,
            kind=self.settings.kind,
            config=asdict(self.settings),
            seed=self.own_seed(seed),
            vocabulary_size=prepared.tokenizer.vocabulary_size,
            tokenizer=prepared.tokenizer.to_json(),
            data_digest=prepared.digest,
            model=arrays,
        )

    def own_seed(self, seed: int) -> int:
        """Return the seed of this rung; `seed` is the common one."""
        own: int | None = getattr(self.settings, "seed", None)
        return seed if own is None else own

    def load(self, seed: int, prepared: Prepared, which: str = "latest") -> Checkpoint:
        """Return its latest or best checkpoint, from the ladder that contains the text.

        Raises
        ------
        InputError
            If there is none, or it is of another text or of other settings; names the remedy.
        """
        if not self.kind.fit.function:
            make = import_object(self.kind.fit.again or "")
            made: Checkpoint = make(self.first_checkpoint(seed, prepared), self.settings, prepared)
            return made
        latest = which == "latest" or self.kind.fit.again is not None
        path = prepared.directory.parent / self.folder / (LATEST if latest else BEST)
        if not path.exists():
            raise InputError(f"there is no {path}; run `{self.command}`")
        checkpoint = Checkpoint.load(path)
        if checkpoint.data_digest != prepared.digest:
            raise InputError(
                f"{path} was not trained on {prepared.directory}; run `{self.command}`"
            )
        config = json.loads(json.dumps(asdict(self.settings)))  # tuples are lists in a checkpoint
        if (checkpoint.config, checkpoint.seed) != (config, self.own_seed(seed)):
            raise InputError(
                f"{path} was trained with other settings than this run's; run "
                f"`python stages/compose.py` with the settings of this run, then `{self.command}`"
            )
        return checkpoint


# The rung of a text with a known distribution. It has no stage and no file: the prepared text
# contains all of it.
ORACLE = Rung("oracle", "prepare", "prepare", KINDS.settings("oracle")(watch=None))


def rungs_of(config: Config) -> Iterator[Rung]:
    """Yield all rungs of a configuration: those of the named stages, further ones, mixtures.

    `ORACLE` is not among them, because it depends on the text; but it can be in a mixture.
    """
    rungs = [Rung(stage, stage, stage, getattr(config, stage)) for stage in STAGES]
    rungs += [Rung(name, "rung", f"rungs/{name}", each) for name, each in config.rungs.items()]
    yield from rungs
    by_model = {model: rung for rung in (*rungs, ORACLE) for model in rung.models}
    for name, settings in config.mixtures.items():
        yield _mixture(name, settings, by_model)


def _mixture(name: str, settings: Any, by_model: Mapping[str, Rung]) -> Rung:
    """Return the rung of a mixture; raise InputError if a member is unknown."""
    if settings.rungs:
        raise InputError(f"mixtures.{name}.rungs cannot be set; name the models in members")
    for member in settings.members:
        if member not in by_model:
            raise InputError(
                f"mixtures.{name}.members: unknown model {member!r}; "
                f"{did_you_mean(member, by_model)}"
            )
    sources = tuple({by_model[each].name: by_model[each] for each in settings.members}.values())
    filled = replace(settings, rungs={each.model: each.settings for each in sources})
    return Rung(name, "mixture", f"mixtures/{name}", filled, sources)


def rung_named(name: str, config: Config) -> Rung:
    """Return the rung with this name; raise InputError, with a suggestion, if it is unknown."""
    rungs = {rung.name: rung for rung in rungs_of(config)}
    if name not in rungs:
        raise InputError(f"unknown rung {name!r}; {did_you_mean(name, rungs)}")
    return rungs[name]
