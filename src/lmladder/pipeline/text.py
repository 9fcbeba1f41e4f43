"""Open the prepared text of a ladder and check that the settings of the rungs fit it."""

from pathlib import Path

from lmladder.config import Config
from lmladder.data import CorpusFacts, Prepared
from lmladder.pipeline.rungs import rungs_of
from lmladder.system.errors import InputError, no_file


def open_prepared(config: Config, ladder: Path, *, trains: bool = True) -> Prepared:
    """Return the text of a ladder, if it is complete and was prepared with this configuration.

    Parameters
    ----------
    trains : whether the rungs are still to be trained

    Raises
    ------
    InputError
        If the text was prepared with other settings; the message names the remedy. Also if the
        settings of a rung do not fit the text; see `require_compatible`.
    """
    prepared = Prepared.open(ladder / "prepare")
    prepared.require_settings(config.text)
    require_compatible(config, prepared.corpus, trains=trains)
    return prepared


def require_compatible(config: Config, text: CorpusFacts, *, trains: bool = True) -> None:
    """Raise InputError if a rung has sequences longer than the text.

    Every stage checks all rungs, so that the first stage that runs reports what would stop a later
    one.
    """
    for rung in rungs_of(config):
        training = getattr(rung.settings, "training", None)
        if training is None:
            continue
        init_from = rung.settings.init_from
        if trains and init_from is not None and not Path(init_from).is_file():
            raise InputError(f"{rung.key}.init_from: {no_file(Path(init_from))}")
        whole = training.sequence_length == getattr(rung.settings, "max_sequence_length", None)
        key = f"{rung.key}.{'context_length' if whole else 'training.sequence_length'}"
        for split, name in (("train", "training"), ("val", "validation")):
            if text.splits[split].tokens <= training.sequence_length:
                raise InputError(
                    f"the {name} text has {text.splits[split].tokens} tokens, fewer than the "
                    f"{training.sequence_length + 1} of a sequence; give a longer text, or make "
                    f"{key}={training.sequence_length} smaller"
                )
