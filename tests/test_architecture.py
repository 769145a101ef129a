"""The floors of the house: what may import what. Arrows point down, and there is no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import free_video_llm

ROOT = Path(free_video_llm.__file__).parent
#: From the ground up. A module imports from its own room and from floors below; rooms on one floor
#: do not know each other. A room is a module or a sub-package directly below the package.
FLOORS: tuple[frozenset[str], ...] = tuple(
    map(
        frozenset,
        (
            {"errors"},
            {"plugins", "small_files", "samples", "openai_client", "settings"},
            {"video", "profiling"},
            {"encoder"},
            {"plans"},
            {"llm"},
            {"models"},
            {"answer"},
            {"picture", "show"},
            {"asking"},
            {"looking"},
            {"conversation"},
            {"watched"},
            {"pipeline"},
            {"profile", "tiny", "checkpoints", "many"},
            {"benchmarks"},
            {"evaluation"},
            {"web"},
            {"serve", "integrations"},
            {"cli"},
            {"__main__"},
        ),
    )
)
#: Two doors that users know open a room above their own, when they are called: `Plan.parse` and its
#: like the notation and the presets, `Answer.save_picture` the pictures.
DOORS = {
    ("free_video_llm.plans.plan", "free_video_llm.plans.notation"),
    ("free_video_llm.plans.plan", "free_video_llm.plans.presets"),
    ("free_video_llm.answer", "free_video_llm.picture"),
}
#: The package itself gives out every public name, loaded when first used.
FRONT = "__init__"


def rooms() -> set[str]:
    return {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()} - {
        "__pycache__"
    }


def module_name(path: Path) -> str:
    parts = ("free_video_llm", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Every module of the package that a file imports, wherever in the file, with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import at line {node.lineno}"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                is_module = (ROOT.parent / Path(*inside.split("."))).with_suffix(".py").exists()
                is_package = (ROOT.parent / Path(*inside.split("."))).is_dir()
                yield inside if is_module or is_package else str(node.module), node.lineno


def test_every_room_has_its_floor():
    on_floors = [room for floor in FLOORS for room in floor]
    assert len(on_floors) == len(set(on_floors))
    assert set(on_floors) == rooms() - {FRONT, "py"}


def test_arrows_point_down():
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room == FRONT:
            continue
        for name, line in imports_of(path):
            parts = name.split(".")
            if parts[0] != "free_video_llm" or len(parts) == 1:
                continue
            if (module_name(path), name) in DOORS:
                continue
            if parts[1] != room and floor_of[parts[1]] >= floor_of[room]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_circle_within_a_room():
    """Late imports count: a circle that opens only when called is a circle to its reader."""
    arrows: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        if path.parent == ROOT and path.stem == FRONT:
            continue
        here = module_name(path)
        ours = {n for n, _ in imports_of(path) if n.startswith("free_video_llm.")} - {here}
        arrows[here] = {name for name in ours if (here, name) not in DOORS}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join([*way[way.index(name) :], name])
        if name in done:
            return
        for other in sorted(arrows.get(name, ())):
            visit(other, (*way, name))
        done.add(name)

    for name in sorted(arrows):
        visit(name, ())
