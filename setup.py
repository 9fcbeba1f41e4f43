"""Adds the files of the repository that `lmladder init` copies to the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TOPS = Path("src/lmladder/cli/project.txt").read_text(encoding="utf-8").split()
FILES = [
    path
    for top in map(Path, TOPS)
    for path in (sorted(top.rglob("*")) if top.is_dir() else [top])
    if path.is_file() and "__pycache__" not in path.parts
]


class BuildWithProject(build_py):
    """Copies the files to lmladder/project, except for an editable installation."""

    def run(self) -> None:
        super().run()
        for path in [] if self.editable_mode else FILES:
            target = Path(self.build_lib, "lmladder/project", path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *map(str, FILES)]  # for a source distribution


setup(cmdclass={"build_py": BuildWithProject})
