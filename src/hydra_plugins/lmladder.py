"""A plugin of Hydra that registers the schemas of the configuration; DVC loads it too."""

import sys
from pathlib import Path

# Use the schemas of this work tree, even if the package is installed from another one.
if (source := str(Path(__file__).resolve().parents[1])) not in sys.path:
    sys.path.insert(0, source)

from lmladder.config import register

register()
