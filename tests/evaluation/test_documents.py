"""What the documents show is run: the example of another set, the example configurations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from free_video_llm.benchmarks import get_set, read_questions, unregister
from free_video_llm.evaluation.config_file import CONFIGS, parse_config, print_config, read_config

ROOT = Path(__file__).parents[2]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_documented_set_is_registered_read_and_run(clips, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cooking.csv").write_text(blocks("question-sets.md", "csv")[0])
    (tmp_path / "clips").symlink_to(clips)
    definition, running = blocks("question-sets.md", "python")
    names: dict[str, object] = {"__name__": "documented"}
    try:
        exec(definition, names)
        first, second = read_questions(get_set("cooking"), "cooking.csv")
        assert (first.kind, first.answer, second.video) == ("ingredient", "an onion", "clip1")
        exec(running.replace('"tiny"', repr(str(checkpoint))), names)
        outcome = names["outcome"]
        assert (outcome.answered, outcome.failed) == (2, 0)  # type: ignore[attr-defined]
        assert outcome.folder == Path("outputs/artifacts/cooking/first")  # type: ignore[attr-defined]
    finally:
        unregister("cooking")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_example_configurations_are_read(path: Path):
    config = read_config(path)
    assert [task.set for task in config.tasks] == [path.stem] == [config.name]
    assert parse_config(print_config(config), name="x") == config
    if path.stem != "toy":
        assert config.tasks[0].videos.endswith(str(get_set(path.stem).video_folder))
        assert config.resolved_plan().count_tokens(frames=50, side=24) == 2648


def test_every_key_and_set_is_documented():
    from dataclasses import fields

    from free_video_llm.benchmarks import SETS
    from free_video_llm.evaluation.config import RunConfig

    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for field in fields(RunConfig):
        assert f"`{field.name}`" in text or field.name == "tasks"
    get_set("toy")
    for name in SETS:
        assert f"`{name}`" in text
