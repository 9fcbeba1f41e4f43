"""The configuration: composed from the settings of all packages, registered with Hydra, read."""

from lmladder.config.hydra import register
from lmladder.config.reading import CONFIGURATION_ERRORS, arguments, describe, one_line, typed
from lmladder.config.schema import STAGES, Config, RuntimeSettings
