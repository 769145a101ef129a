"""Runs written down without a model, for tests of what comes after a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from free_video_llm.evaluation.jsonl import LineWriter
from free_video_llm.evaluation.run_dir import RunFolder

EVIDENCE = {
    "duration_seconds": 2.0,
    "sampled": {"seconds": [0.0, 1.0], "scores": [0.1, 0.2]},
    "pathways": [
        {
            "name": "slow",
            "tokens": 8,
            "cropped": True,
            "frames": [{"sampled": 1, "second": 1.0, "score": 0.2, "region": [0.0, 0.5, 0.5, 1.0]}],
        }
    ],
}


def row(
    number: int,
    prediction: str | None,
    *,
    answer: str = "dog",
    video: str | None = None,
    kind: str = "object",
    options: Sequence[str] = (),
    tokens: int = 10,
    batch: int = 2,
) -> dict[str, Any]:
    """A row as `row.py` writes it; without a prediction a failed one."""
    part: dict[str, Any] = {
        "row": number,
        "video": video or f"v{number // 4}",
        "question": f"question {number}?",
        "answer": answer,
        "options": list(options),
        "kind": kind,
        "question_id": str(number),
    }
    if prediction is None:
        return part | {"status": "failed", "reason": f"VideoError: no video 'v{number}' in x"}
    steps = {"decode": 1.0, "encode": 2.0, "prompt": 0.0, "select": 0.2, "project": 0.3}
    return part | {
        "status": "answered",
        "prediction": prediction,
        "token_ids": [1, 2],
        "tokens": {"visual": tokens, "by_pathway": {"slow": tokens}, "prompt": 30, "answer": 2},
        "timings": steps | {"prefill": 3.0, "generate": 1.0},
        "batch": batch,
        "evidence": EVIDENCE,
        "warnings": [],
    }


def write_run(
    folder: Path, rows: Sequence[dict[str, Any]], *, asked: int | None = None, **changes: Any
) -> RunFolder:
    """A run's folder with these rows; `asked` rows has the question file."""
    run = RunFolder(folder)
    kinds = Counter(r["kind"] for r in rows)
    more = (asked or len(rows)) - len(rows)
    if more:
        kinds["object"] += more
    about: dict[str, Any] = {
        "schema": 1,
        "set": "toy",
        "title": "Toy <world>",
        "settings": {
            "plan": {}, "frames": 4, "decode": "exact", "resize": "bicubic", "max_new_tokens": 3,
            "batch": 3, "conv_mode": None,
        },
        "load": {"model": "tiny"},
        "questions": {
            "rows": asked or len(rows), "videos": 3, "kinds": dict(kinds), "hash": "sha256:1",
        },
        "model": {"name": "tiny", "fingerprint": "sha256:f", "layout": "x", "conv_mode": "plain"},
        "created": "2026-01-01T00:00:00+00:00",
        "versions": {"free-video-llm": "0", "torch": "0", "transformers": "0"},
        "device": {},
        "paths": {"questions": "x.csv", "videos": "x", "plan": "paper"},
        "full_config": {},
    }  # fmt: skip
    run.write_run(about | changes)
    with LineWriter(run.results_file()) as writer:
        writer.append(rows)
    return run


def made_rows(run: RunFolder) -> list[dict[str, Any]]:
    """A run's rows as plain values, in the question file's order."""
    return sorted((row.to_dict() for row in run.rows()), key=lambda row: row["row"])


def write_judge(
    run: RunFolder, verdicts: dict[int, tuple[str, float] | None], name: str = "j"
) -> None:
    """A judge's file: a verdict for each row, None where it failed; other rows were not judged."""
    lines = []
    for r in made_rows(run):
        if r["status"] != "answered":
            continue
        part = {"row": r["row"], "video": r["video"], "question": r["question"], "key": "k"}
        if r["row"] not in verdicts:
            part |= {"status": "not judged", "reason": "x"}
        elif verdicts[r["row"]] is None:
            part |= {"status": "judge-failed", "reason": "x"}
        else:
            pred, score = verdicts[r["row"]]  # type: ignore[misc]
            part |= {"status": "judged", "pred": pred, "score": score}
        lines.append(json.dumps(part))
    (run.path / f"judge-{name}.jsonl").write_text("\n".join(lines) + "\n")
    about = {
        "judge": "judge-1", "server": "http://x/v1", "exact_models": ["judge-1-0613"],
        "protocol": "p", "seed": 0,
    }  # fmt: skip
    (run.path / f"judge-{name}.json").write_text(json.dumps(about))
