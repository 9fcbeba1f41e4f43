"""Pages of the site that are not in docs/, and links to files of the repository.

The README, CONTRIBUTING.md and CHANGELOG.md are pages; references of commands and settings are made
of what the program prints. A file that a page links or shows is copied to the site.
"""

import json
import os
import re
import subprocess
from itertools import groupby
from pathlib import Path
from typing import Any

from lmladder.cli.main import COMMANDS
from lmladder.system.settings import Described, as_override

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
README = "index.md"
TOP = {"README.md": README, "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"\[([^]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def printed(*command: str) -> str:
    """Return what a command prints in the root of the repository, 80 columns wide."""
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.check_output(command, cwd=ROOT, env=environment, encoding="utf-8")


def commands() -> str:
    """Return a page with the help of every command."""
    parts = [f"## {name}\n\n```text\n{printed('lmladder', name, '-h')}```\n" for name in COMMANDS]
    return "\n".join(["# Commands\n", *parts])


def settings() -> str:
    """Return a page with a table of the settings of each part."""
    lines = ["# Settings\n\nA setting with a choice in parentheses exists with that choice only."]
    lines.append("\n<style>td:first-child code { white-space: nowrap; }</style>")  # whole names
    every = [Described(**each) for each in json.loads(printed("lmladder", "settings", "--json"))]
    for part, group in groupby(every, lambda each: each.key.partition(".")[0]):
        lines += [f"\n## {part}\n", "| setting | default | allowed | meaning |", "| --- " * 4 + "|"]
        for each in group:
            choice = f" (`{each.choice}`)" if each.choice else ""
            default = "" if choice or not each.allowed else f"`{as_override(each.value)}`"
            lines.append(f"| `{each.key}`{choice} | {default} | {each.allowed} | {each.help} |")
    return "\n".join(lines)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs/, and the files that pages link."""
    for name, uri in TOP.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text("utf-8")))
    files.append(File.generated(config, "commands.md", content=commands()))
    files.append(File.generated(config, "settings.md", content=settings()))
    for page in [*files.documentation_pages()]:
        for path in map(linked(page), LINK.finditer(page.content_string)):
            elsewhere = path not in TOP and not path.startswith("docs/")
            if elsewhere and (ROOT / path).is_file() and not files.get_file_from_path(path):
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def linked(page: Any) -> Any:
    """Return a function that returns the path in the repository of a link of a page."""
    folder = "" if page.src_uri in TOP.values() else "docs"
    return lambda match: os.path.normpath(os.path.join(folder, match[2]))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links at pages and files of the site; a folder keeps its text only."""

    def target(match: re.Match[str]) -> str:
        path = linked(page.file)(match)
        uri = TOP.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(uri) is None:
            return match[1]
        return f"[{match[1]}]({uri}{match[3] or ''})"

    return LINK.sub(target, markdown)
