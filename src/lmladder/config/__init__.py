"""The configuration: the settings of all components, and how Hydra composes them from `conf/`.

`composing.py` needs Hydra, and its users import it themselves; this package does not.
"""

from lmladder.config.schema import STAGES, Config, RuntimeSettings, schema
