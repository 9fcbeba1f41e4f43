"""The configuration: composed from the settings of all packages, registered with Hydra, read."""

from lmladder.config.hydra import register
from lmladder.config.reading import (
    CONFIGURATION_ERRORS,
    arguments,
    composed,
    describe,
    one_line,
    reference,
    typed,
)
from lmladder.config.schema import STAGES, Config, RuntimeSettings
