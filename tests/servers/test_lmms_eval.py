"""lmms-eval with our plugin, in an environment of its own: `make test-lmms-eval`.

The toy set as a task of its YAML, and documents in the form of its `videomme`, made small.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed here: make test-lmms-eval")

from faulty_server import serve as model_server
from free_video_llm.cli.main import main
from seeing_server import look, pictures_in

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_visual: !function {module}.visual
doc_to_text: !function {module}.text
doc_to_target: "answer"
generation_kwargs: {{max_new_tokens: 128, do_sample: false}}
process_results: !function {module}.score
metric_list:
  - metric: right
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 0.0
"""
MODULE = """\
def visual(doc):
    return [doc["path"]]


def text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def score(doc, results):
    return {"right": float(results[0].strip(" .").lower() == doc["answer"].lower())}
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory) -> Path:
    """The toy set: for us, and as a task of lmms-eval."""
    folder = tmp_path_factory.mktemp("toys")
    assert main(["prepare", "toy", "--out", str(folder), "--videos", "6", "--questions", "4"]) == 0
    rows = list(csv.DictReader((folder / "Toy_QA.csv").open(encoding="utf-8")))
    documents = [
        {"question": row["question"], "answer": row["answer"],
         "path": str(folder / "videos" / f"{row['video_name']}.mp4")}
        for row in rows
    ]  # fmt: skip
    write_task(folder / "tasks", "fvl_toy", documents, MODULE)
    return folder


def write_task(folder: Path, name: str, documents: list[Any], module: str) -> None:
    folder.mkdir(exist_ok=True)
    data = folder / f"{name}.json"
    data.write_text(json.dumps(documents))
    (folder / f"{name}_code.py").write_text(module)
    (folder / f"{name}.yaml").write_text(TASK.format(name=name, data=data, module=f"{name}_code"))


def run(
    tasks: Path, name: str, model: str, arguments: str, out: Path, **environment: str
) -> tuple[list[str], float, str]:
    """What lmms-eval's command says: the answers, its figure, and what it printed."""
    command = [sys.executable, "-m", "lmms_eval", "--model", model, "--model_args", arguments,
               "--tasks", name, "--include_path", str(tasks), "--batch_size", "8",
               "--log_samples", "--output_path", str(out)]  # fmt: skip
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(out / "cache"), "HF_HOME": str(out),
             "WANDB_MODE": "disabled", "FVL_MODEL": "tiny"}  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **quiet, **environment}
    )
    found = list(out.rglob("*_samples_*.jsonl"))  # it ends with 0 where it fails
    assert len(found) == 1, done.stdout[-3000:] + done.stderr[-3000:]
    (results,) = out.rglob("*_results.json")
    lines = sorted(map(json.loads, found[0].open(encoding="utf-8")), key=lambda s: s["doc_id"])
    figures = json.loads(results.read_text())["results"][name]
    figure = next(v for k, v in figures.items() if k.startswith("right") and "stderr" not in k)
    answers = ["".join(s["filtered_resps"]) for s in lines]  # a text, or a list of one
    return answers, float(figure), done.stdout + done.stderr


def test_figures_are_those_of_fvl_eval(toys, tmp_path, monkeypatch):
    """The same rows, plan and frames: the same answers, and so the same figure."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(
        f"sets: [{{set: toy, questions: {toys}/Toy_QA.csv, videos: {toys}/videos}}]\n"
        "model: tiny\nplan: lean\nframes: 20\n"
    )
    assert main(["eval", "run.yaml"]) == 0
    rows = map(json.loads, (tmp_path / "outputs/artifacts/toy/run/results.jsonl").open())
    ours = [row["prediction"] for row in sorted(rows, key=lambda row: row["row"])]
    theirs, figure, _ = run(
        toys / "tasks", "fvl_toy", "free_video_llm", "model=tiny,plan=lean,frames=20",
        tmp_path / "out",
    )  # fmt: skip
    assert theirs == ours
    answers = [row["answer"] for row in csv.DictReader((toys / "Toy_QA.csv").open())]
    right = [a.strip(" .").lower() == b.lower() for a, b in zip(ours, answers, strict=True)]
    assert figure == pytest.approx(sum(right) / len(right))
    assert figure > 0.5


def test_our_frames_before_an_ordinary_model_of_lmms_eval(toys, tmp_path):
    """Its own client for OpenAI-compatible servers, which is shown our kept frames."""
    with model_server(answer=look_leniently) as behind:
        answers, figure, _ = run(
            toys / "tasks", "fvl_toy", "free_video_llm_frames",
            "inner=async_openai,inner_model_version=m,inner_api_key=none,scorer=tiny,plan=prompt-3,"
            f"frames=20,inner_base_url={behind.url}/v1",
            tmp_path / "out",
        )  # fmt: skip
    assert len(behind.seen) == len(answers) > 10
    for body in behind.seen:
        parts = body["messages"][0]["content"]
        assert [part["type"] for part in parts] == ["text", "image_url"] * 3 + ["text"]
        assert parts[0]["text"].startswith("Frame") or "s" in parts[0]["text"]
    assert figure > 0  # it names colours, and a part of the questions is about them


def look_leniently(body: dict[str, Any]) -> str:
    """As our own requests are looked at, but for PNG, which lmms-eval sends."""
    import base64
    import io

    from PIL import Image

    for part in body["messages"][0]["content"]:
        if part["type"] == "image_url":
            data = part["image_url"]["url"].partition(",")[2]
            held = io.BytesIO()
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                image.convert("RGB").save(held, "JPEG", quality=95)
            part["image_url"]["url"] = (
                "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
            )
    assert len(pictures_in(body)) == 3
    return look(body)


VIDEO_MME = """\
from lmms_eval.tasks.videomme import utils


def visual(doc):
    return utils.videomme_doc_to_visual(doc)


def text(doc, lmms_eval_specific_kwargs=None):
    return utils.videomme_doc_to_text(doc, {"post_prompt": "The best answer is:"})


def score(doc, results):
    scored = utils.videomme_process_results(doc, results)
    return {"right": scored["videomme_perception_score"]["score"]}
"""


def test_documents_of_video_mme(toys, tmp_path):
    """Its own code finds the videos, writes the prompts and scores; a video that is not there fails
    by itself, and is told."""
    home = tmp_path / "home"
    (home / "videomme" / "data").mkdir(parents=True)
    names = ["star", "steady"]
    for name in names:
        shutil.copy(_sample(name), home / "videomme" / "data" / f"{name}.mp4")
    (home / "videomme" / "data" / "broken.mp4").write_bytes(b"broken")
    documents = [
        {"videoID": name, "question_id": f"{name}-1", "duration": "short", "domain": "Knowledge",
         "sub_category": "Law", "task_type": "Attribute Perception",
         "question": "What color is the moon?", "options": ["A. blue.", "B. red.", "C. pink."],
         "answer": "B"}
        for name in [*names, "broken"]
    ]  # fmt: skip
    write_task(tmp_path / "tasks", "fvl_mme", documents, VIDEO_MME)
    out = tmp_path / "out"
    answers, _, said = run(
        tmp_path / "tasks", "fvl_mme", "fvl", "model=tiny,plan=lean", out, HF_HOME=str(home)
    )
    assert len(answers) == 3
    assert answers[2] == ""
    assert "1 of 3 were not answered" in said


def _sample(name: str) -> str:
    from free_video_llm.samples import find

    return find(f"sample:{name}")


def test_a_misspelt_argument_is_told(toys, tmp_path):
    with pytest.raises(AssertionError, match="did you mean 'frames'"):
        run(toys / "tasks", "fvl_toy", "free_video_llm", "model=tiny,framez=3", tmp_path / "out")
