"""Found by Hydra, and through it by DVC: registers the schemas of the configuration."""

import sys
from pathlib import Path

# The schemas of this work tree, also where the package is installed from another one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lmladder.config import register

register()
