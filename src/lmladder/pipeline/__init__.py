"""The stages of the pipeline: their entry point, and their bodies, a file each."""

from typing import TYPE_CHECKING

from lmladder.system.lazy import lazy_exports

if TYPE_CHECKING:
    from lmladder.pipeline.entry import main
else:
    __getattr__ = lazy_exports(__name__, __file__)
