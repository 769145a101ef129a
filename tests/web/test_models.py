"""Offered models: only those, one question at a time, at most one large one in memory."""

from __future__ import annotations

import threading

import pytest
import torch

from free_video_llm import CheckpointError, ConfigError, VideoLLM
from free_video_llm.web.models import Models


def test_only_what_is_offered_is_loaded():
    models = Models(["tiny"], VideoLLM.from_pretrained)
    for name in ("/tmp", "../model", "llava-hf/llava-1.5-7b-hf", ""):
        with pytest.raises(ConfigError, match="unknown model"), models.use(name):
            pass
    assert models.loaded("tiny") is None
    with models.use("tiny") as llm:
        assert llm.name == "tiny"
    with models.use("tiny") as again:
        assert again is llm


def test_a_failure_leaves_what_is_loaded(tmp_path):
    missing = str(tmp_path / "missing")
    models = Models(["tiny", missing], VideoLLM.from_pretrained)
    with models.use("tiny") as llm:
        pass
    with pytest.raises(CheckpointError, match="missing"), models.use(missing):
        pass
    with models.use("tiny") as again:
        assert again is llm


def test_one_large_model_at_a_time_beside_tiny(llm):
    dropped = []
    models = Models(["a", "b", "tiny"], lambda name: llm, dropped=dropped.append)
    for name in ("tiny", "a", "b"):
        with models.use(name):
            pass
    assert dropped == ["a"]
    assert [models.loaded(name) is not None for name in ("a", "b", "tiny")] == [False, True, True]


def test_memory_that_runs_out_is_tried_again_without_the_old_model(llm):
    dropped: list[str] = []

    def load(name: str) -> VideoLLM:
        if name == "b" and "a" not in dropped:
            raise torch.OutOfMemoryError
        if name == "c":
            raise MemoryError
        return llm

    models = Models(["a", "b", "c"], load, dropped=dropped.append)
    for name in ("a", "b"):
        with models.use(name):
            pass
    assert dropped == ["a"]
    with pytest.raises(ConfigError, match="not enough memory for c"), models.use("c"):
        pass


def test_one_question_at_a_time(llm):
    models = Models(["tiny"], lambda name: llm)
    inside, most = [], []

    def use() -> None:
        with models.use("tiny"):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
