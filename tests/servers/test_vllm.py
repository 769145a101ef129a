"""tiny behind a real vLLM server, asked as any model behind a server is. See `make test-vllm`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from free_video_llm.cli.main import main
from free_video_llm.evaluation.report import make_report
from free_video_llm.evaluation.run_dir import find_run

URL = os.environ.get("FVL_VLLM_URL")
CONFIG = """
plan: {plan}
frames: 24
max_new_tokens: 8
scorer: {scorer}
model: {model}
{more}
sets: [{{set: toy, questions: toy/Toy_QA.csv, videos: toy/videos}}]
"""


@pytest.mark.skipif(URL is None, reason="no FVL_VLLM_URL: make test-vllm starts a server")
@pytest.mark.parametrize("plan", ["frames=uniform:6/concat", "frames=prompt:4/concat"])
def test_it_is_as_often_right_as_in_process(tmp_path: Path, monkeypatch, plan: str):
    monkeypatch.chdir(tmp_path)
    words = ["--videos", "40", "--questions", "4", "--seed", "11"]
    assert main(["prepare", "toy", "--out", "toy", *words]) == 0
    right = {}
    for name, model, more in (("here", "tiny", ""), ("served", "openai:tiny", f"base_url: {URL}")):
        text = CONFIG.format(plan=plan, scorer="tiny", model=model, more=more)
        Path(f"{name}.yaml").write_text(text)
        assert main(["eval", f"{name}.yaml"]) == 0
        total = make_report(find_run(f"outputs/artifacts/toy/{name}")).total
        assert (total.answered, total.failed) == (160, 0)
        right[name] = total.accuracy["contains"].value
    print(right)
    assert abs(right["served"] - right["here"]) <= 0.02


EMBEDS_URL = os.environ.get("FVL_VLLM_EMBEDS_URL")


@pytest.mark.skipif(EMBEDS_URL is None, reason="no FVL_VLLM_EMBEDS_URL: make test-vllm starts one")
def test_our_tokens_give_the_same_ids_there(tmp_path: Path):
    """Twenty questions of the toy set, by prompt embeddings: greedy ids as in process."""
    import csv

    from free_video_llm import VideoLLM

    words = ["--videos", "5", "--questions", "4", "--seed", "12"]
    assert main(["prepare", "toy", "--out", str(tmp_path), *words]) == 0
    rows = list(csv.DictReader((tmp_path / "Toy_QA.csv").open(encoding="utf-8")))
    here = VideoLLM.from_pretrained("tiny")
    there = VideoLLM.from_pretrained("tiny", engine_url=EMBEDS_URL)
    same = 0
    for row in rows:
        path = tmp_path / "videos" / f"{row['video_name']}.mp4"
        one, other = (
            llm.watch(path, frames=20).ask(row["question"], plan="paper") for llm in (here, there)
        )
        assert one.text == other.text
        same += one.token_ids == other.token_ids
    print(f"{same} of {len(rows)} with equal ids")
    assert same == len(rows) == 20


QWEN_URL = os.environ.get("FVL_VLLM_QWEN_URL")


@pytest.mark.skipif(QWEN_URL is None, reason="no FVL_VLLM_QWEN_URL: make test-vllm starts a server")
@pytest.mark.parametrize("frames_as", ["video", "video-twice"])
def test_frames_as_a_video_keep_their_seconds(frames_as: str):
    """In the prompt that vLLM and transformers' processor make of the frames. A random Qwen3-VL
    reads a time before every two frames: their mean, where they are two."""
    import re

    from transformers import PreTrainedTokenizerFast

    from free_video_llm import VideoLLM

    llm = VideoLLM.from_pretrained(
        "openai:qwen", base_url=QWEN_URL, scorer="tiny", max_pixels=128 * 128, frames_as=frames_as
    )
    sent, create = [], llm.language_model._client.chat.completions.create

    def with_ids(**request):  # type: ignore[no-untyped-def]
        request["extra_body"] = {**request["extra_body"], "return_token_ids": True}
        sent.append(create(**request))
        return sent[-1]

    llm.language_model._client.chat.completions.create = with_ids
    video = llm.watch("sample:needle", frames=20)
    answer = video.ask("What color is the diamond?", plan="prompt-3", max_new_tokens=2)
    kept = sorted(k.second for part in answer.evidence.pathways for k in part.kept)
    if frames_as == "video":  # three frames, the last of them again
        kept = [(kept[0] + kept[1]) / 2, kept[2]]
    words = PreTrainedTokenizerFast.from_pretrained("build/qwen").decode(sent[0].prompt_token_ids)
    read = [float(second) for second in re.findall(r"<([\d.]+) seconds>", words)]
    assert read == pytest.approx(kept, abs=0.051)
