"""The pages of the site that are files of the repository, and links to files outside of docs/."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

IMAGE = re.compile(r"(?<=\]\()(?!https?:)([^)\s]+\.(?:svg|png))(?=\))")
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)\s]+)(?=\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the README as the first page, and its figures."""
    root = Path(config.config_file_path).parent
    readme = (root / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme))
    for path in IMAGE.findall(readme):
        if not path.startswith("docs/"):
            files.append(File.generated(config, path, abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links at pages of the site, or at the file in the repository."""
    folder = Path() if page.file.src_path == "index.md" else Path("docs")

    def target(match: re.Match[str]) -> str:
        path, _, anchor = match[1].partition("#")
        if not path:
            return match[0]
        parts = [*folder.parts]
        for part in Path(path).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        if "/".join(parts) in files.src_uris:  # a figure of the README
            return "/".join(parts)
        if parts[0] == "docs":
            return "/".join(parts[1:]) + (f"#{anchor}" if anchor else "")
        return f"{config.repo_url}/blob/main/{'/'.join(parts)}"

    return LINK.sub(target, markdown)
