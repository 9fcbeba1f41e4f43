"""The rungs of a configuration: their settings, folders and checkpoints."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmladder.config import STAGES, Config
from lmladder.data import Prepared
from lmladder.experiments.jobs import run_digest
from lmladder.models import GROUPS, Kind, kind_named, rung_settings
from lmladder.models.mixture import MEMBERS
from lmladder.pipeline.loggers import logged
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.system.settings import did_you_mean, dotted, validate
from lmladder.training.checkpoint import BEST, LATEST, Checkpoint


@dataclass(frozen=True)
class Rung:
    """A rung of a configuration.

    Attributes
    ----------
    name : of its settings: "mlp", or its key in `rungs` or `mixtures`
    stage : the stage of dvc.yaml that fits it
    folder : of its results, within the folder of a ladder
    settings : of its kind
    sources : the rungs from which a mixture takes its members
    """

    name: str
    stage: str
    folder: str
    settings: Any
    sources: tuple["Rung", ...] = ()

    @property
    def kind(self) -> type[Kind]:
        return kind_named(self.settings.kind)

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

    @property
    def members(self) -> dict[str, Any]:
        """The settings of the rungs that a mixture mixes, by model."""
        return {each.model: each.settings.model_dump() for each in self.sources}

    def seed(self, common: int) -> int:
        """Return its own seed if it has one, else that of the configuration."""
        own: int | None = getattr(self.settings, "seed", None)
        return common if own is None else own

    def fit(self, config: Config, text: Prepared, folder: Path) -> Checkpoint:
        """Return its fitted checkpoint, which is also in a folder; continue an unfinished run."""
        start = self.start(config.seed, text)
        facts = dotted({self.name: self.settings.model_dump(), "seed": start.seed})
        with logged(config.logger, folder, facts) as log:
            return self.kind.fit(start, self.settings, text, folder, log)

    def start(self, seed: int, text: Prepared) -> Checkpoint:
        """Return the checkpoint of a run that has not begun: all that determines it.

        It has no arrays but those of the members of a mixture.
        """
        arrays: dict[str, Array] = {}
        for each in self.sources:
            member = each.load(seed, text, self.settings.checkpoint).model
            arrays |= {f"{MEMBERS}.{each.model}.{name}": array for name, array in member.items()}
        return Checkpoint(
            name=self.model,
            kind=self.settings.kind,
            config=self.settings.model_dump(),
            seed=self.seed(seed),
            vocabulary_size=text.tokenizer.vocabulary_size,
            tokenizer=text.tokenizer.to_json(),
            data_digest=text.digest,
            members=self.members,
            trained_by={"stage": self.stage, "code": run_digest(self.stage, self.settings.kind)},
            model=arrays,
        )

    def load(self, seed: int, text: Prepared, which: str = "latest") -> Checkpoint:
        """Return its latest or best checkpoint, from the ladder that contains the text.

        Raises
        ------
        InputError
            If there is none, or it is of another text or of other settings; names the remedy.
        """
        if self is ORACLE:
            return self.kind.fit(self.start(seed, text), self.settings, text, text.directory)
        name = BEST if which == "best" and self.kind.by_steps else LATEST
        path = text.directory.parent / self.folder / name
        if not path.exists():
            raise InputError(f"there is no {path}; run `{self.command}`")
        found = Checkpoint.load(path)
        if found.data_digest != text.digest:
            raise InputError(f"{path} was not trained on {text.directory}; run `{self.command}`")
        expected = self.settings.model_dump(), self.members, self.seed(seed)
        if (found.config, found.members, found.seed) != expected:
            raise InputError(
                f"{path} was trained with other settings than this run's; run "
                f"`python stages/compose.py` with the settings of this run, then `{self.command}`"
            )
        return found


# The rung of a text with a known distribution. It has no stage and no file: the prepared text
# contains all of it.
ORACLE = Rung("oracle", "prepare", "prepare", validate(rung_settings("oracle"), {"kind": "oracle"}))


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
    for member in settings.members:
        if member not in by_model:
            raise InputError(
                f"mixtures.{name}.members: unknown model {member!r}; "
                f"{did_you_mean(member, by_model)}"
            )
    sources = tuple({by_model[each].name: by_model[each] for each in settings.members}.values())
    return Rung(name, "mixture", f"mixtures/{name}", settings, sources)


def rung_named(name: str | None, config: Config) -> Rung:
    """Return the rung with this name; raise InputError, with a suggestion, if it is unknown."""
    if name is None:
        raise InputError(f"rung is missing; give rung=NAME, a name in {' or '.join(GROUPS)}")
    rungs = {rung.name: rung for rung in rungs_of(config)}
    if name not in rungs:
        raise InputError(
            f"unknown rung {name!r}; {did_you_mean(name, rungs)}; give its settings, such as "
            f"+rungs={name}, or run `dvc repro rung@{name}` if params.yaml has them"
        )
    return rungs[name]


def folders_read(stage: str, config: Config) -> list[str]:
    """Return the folders of the ladder whose results a stage reads."""
    if stage in ("prepare", "ladder"):
        return []
    rungs = list(rungs_of(config))
    if stage != "evaluate":
        rungs = [source for rung in rungs if rung.name == config.rung for source in rung.sources]
    return [*dict.fromkeys(["prepare", *(rung.folder for rung in rungs)])]
