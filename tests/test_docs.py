"""The documents stay true: links lead somewhere, commands exist, the tree names every room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from free_video_llm.cli.main import build_parser

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    known = set(build_parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr]
    shown = set(re.findall(r"(?m)(?:^|`|\$ |bin/)fvl ([a-z][a-z-]*)", text))
    assert shown <= known
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", text)) <= targets


def test_the_readme_is_short_and_the_tree_names_every_module():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "free_video_llm"
    rooms = [p for p in package.iterdir() if p.is_dir() and (p / "__init__.py").exists()]
    named = [p.name for p in package.glob("*.py")] + [f"{room.name}/" for room in rooms]
    assert [name for name in named if name not in tree] == []


def test_no_module_has_grown_beyond_five_hundred_lines():
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("src", "training", "bench", "study")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert long == {}
