"""The prepared text of a ladder, and whether the settings of the rungs suit it."""

from pathlib import Path

from lmladder.config import Config
from lmladder.data import CorpusFacts, Prepared
from lmladder.pipeline.memory import require_memory
from lmladder.pipeline.rungs import rungs_of
from lmladder.system.errors import InputError, no_file


def open_prepared(config: Config, ladder: Path, *, trains: bool = True) -> Prepared:
    """A ladder's text, whole and as this configuration wants it.

    Parameters
    ----------
    trains : whether the rungs are still to be trained

    Raises
    ------
    InputError
        If the text is another, with the remedy; or if the settings of any rung do not suit it, such
        as a sequence that is longer, or more memory than there is.
    """
    prepared = Prepared.open(ladder / "prepare")
    prepared.require_settings(config.text)
    require_suited(config, prepared.corpus, trains=trains)
    return prepared


def require_suited(config: Config, text: CorpusFacts, *, trains: bool = True) -> None:
    """Raise InputError if the settings of a rung, any of them, do not suit a prepared text.

    Each stage asks this first, so that the first one that runs finds what would stop a later one.
    """
    for rung in rungs_of(config):
        training = getattr(rung.settings, "training", None)
        if training is None:
            continue
        given = rung.settings.init_from
        if trains and given is not None and not Path(given).is_file():
            raise InputError(f"{rung.name}.init_from: {no_file(Path(given))}")
        for split, name in (("train", "training"), ("val", "validation")):
            if text.splits[split].tokens <= training.sequence_length:
                raise InputError(
                    f"the {name} text has {text.splits[split].tokens} tokens, fewer than the "
                    f"{training.sequence_length + 1} of a sequence; give a longer text, or make "
                    f"{rung.name}.training.sequence_length={training.sequence_length} smaller"
                )
    require_memory(
        config,
        vocabulary_size=text.vocabulary_size,
        val_tokens=text.splits["val"].tokens,
        trains=trains,
    )
