"""Found by Hydra, and through it by DVC: tells both the schema of the configuration."""

from hydra.core.config_store import ConfigStore

from lmladder.config import Config

ConfigStore.instance().store(name="schema", node=Config)
