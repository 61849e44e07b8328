"""Builds the documentation site into ``build/site``: ``make docs``. A warning is an error.

The pages link to files beside them in the repository, so that their links work wherever the repository
is read. On the site each of those files has a page of its own, under ``repository/``. So the pages are
first copied to ``build/docs``, with these links led there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
STAGED = ROOT / "build/docs"

LINK = re.compile(r"""(?<=\]\()[^)#\s]+|(?<=src=")[^"#]+|(?<=srcset=")[^"#]+""")
"""The target of a Markdown link or image, or of an image in HTML, without its anchor."""

CACHE = ROOT / ".cache"
"""Of Zensical. What it finds there it does not complain about a second time."""

COMPLAINT = "griffe: "
"""What is wrong with a docstring is only printed, whatever ``--strict`` says."""

COPIED = frozenset({".css", ".png", ".svg"})
LOGO = ROOT / "taskflow/admin/pages/static/favicon.svg"
LANGUAGES = {
    ".alloy": "hcl",
    ".json": "json",
    ".py": "python",
    ".sql": "sql",
    ".yaml": "yaml",
    ".yml": "yaml",
}


def main() -> int:
    """Copy the pages, build the site; returns the exit code."""
    for left in (STAGED.parent, CACHE):
        shutil.rmtree(left, ignore_errors=True)
    stage(ROOT, STAGED)
    shutil.copyfile(LOGO, STAGED / "logo.svg")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=ROOT, check=False, text=True, stdout=PIPE, stderr=STDOUT)
    sys.stdout.write(built.stdout)
    return built.returncode or COMPLAINT in built.stdout


def stage(root: Path, staged: Path) -> None:
    """Write every page of ``docs``, and every file of the repository that one of them leads to."""
    waiting = [path for path in (root / "docs").rglob("*") if is_page(path)]
    written: set[Path] = set()
    while waiting:
        source = waiting.pop()
        if source not in written:
            written.add(source)
            write(source, root, staged / address(source, root))
            waiting += linked(source, root)


def write(source: Path, root: Path, target: Path) -> None:
    """Write what the site has of a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix in COPIED:
        shutil.copyfile(source, target)
    else:
        target.write_text(page(source, root), encoding="utf-8")


def is_page(source: Path) -> bool:
    """Whether a file of ``docs`` is on the site as it is."""
    return source.suffix == ".md" or source.suffix in COPIED


def address(source: Path, root: Path) -> Path:
    """Where the site has a file: those of the site as they lie in ``docs``, others on pages of their own."""
    inside = source.relative_to(root)
    if inside.parts[0] == "docs" and is_page(source):
        return inside.relative_to("docs")
    return Path("repository", f"{inside}.md")


def page(source: Path, root: Path) -> str:
    """The Markdown of a file's page: its own, with links for the site; its text; or what a folder holds."""
    title = f"# {source.relative_to(root)}\n\n"
    if source.is_dir():
        return title + "".join(
            f"- [{path.name}]({relative(path, source, root)})\n" for path in linked(source, root)
        )
    text = source.read_text(encoding="utf-8")
    if source.suffix != ".md":
        return f"{title}````{LANGUAGES.get(source.suffix, 'text')}\n{text}````\n"

    def lead(link: re.Match[str]) -> str:
        target = (source.parent / link[0]).resolve()
        return relative(target, source, root) if is_ours(target, root) else link[0]

    return LINK.sub(lead, text)


def linked(source: Path, root: Path) -> Iterator[Path]:
    """The files that a page leads to: those that it names, and of a folder those in it."""
    if source.is_dir():
        yield from sorted(path for path in source.iterdir() if path.is_file() and path.suffix != ".pyc")
    elif source.suffix == ".md":
        targets = ((source.parent / link).resolve() for link in LINK.findall(source.read_text("utf-8")))
        yield from (target for target in targets if is_ours(target, root))


def is_ours(target: Path, root: Path) -> bool:
    """Whether a link leads to something of the repository, and not to another host."""
    return target.is_relative_to(root) and target.exists()


def relative(target: Path, source: Path, root: Path) -> str:
    """The link from one staged page to another."""
    return Path(os.path.relpath(address(target, root), address(source, root).parent)).as_posix()


if __name__ == "__main__":
    sys.exit(main())
