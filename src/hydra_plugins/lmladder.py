"""Found by Hydra, and through it by DVC: tells both the schema of the configuration."""

from lmladder.config import Config

from hydra.core.config_store import ConfigStore

ConfigStore.instance().store(name="schema", node=Config)
