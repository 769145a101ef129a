"""Makes a question set of the toy world, in the IG-VLM CSV form, with its videos."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from free_video_llm.errors import ConfigError

COLUMNS = ("", "video_id", "answer", "question", "video_name", "question_id", "question_type")


def write_toy_set(
    folder: str | Path,
    *,
    videos: int = 20,
    questions: int = 5,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path, int]:
    """Write `Toy_QA.csv`, `Toy_truth.jsonl` and `videos/toy_0001.mp4` … below `folder`; equal seeds
    give equal sets.

    The truth says when and where what a question asks for is seen (`evaluation/truth.py`). In every
    other video an object shows only briefly, and one question asks for it.

    Returns:
        The CSV file, the videos' folder, and the number of questions.

    Raises:
        ConfigError: the folder cannot be written.
    """
    import numpy as np

    from free_video_llm.tiny import videos as toy
    from free_video_llm.tiny.questions import Question
    from free_video_llm.tiny.truth import boxes_of, moments_of

    folder = Path(folder)
    try:
        (folder / "videos").mkdir(parents=True, exist_ok=True)
        file = (folder / "Toy_QA.csv").open("w", encoding="utf-8", newline="")
        truth = (folder / "Toy_truth.jsonl").open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}") from None
    rows = 0
    with file, truth:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(1, videos + 1):
            rng = np.random.default_rng((seed, number))
            name = f"toy_{number:04}"
            asked: list[Question] = []
            if number % 2:
                clip = toy.sample_clip(rng)
            else:
                clip, needle = toy.sample_needle(rng)
                kind = str(rng.choice(toy.KINDS))
                brief = toy.needle_question(clip, needle, kind, rng)
                asked += [brief] if brief is not None else []
            others = toy.clip_questions(clip, questions, rng)
            asked += [question for question in others if question not in asked]
            toy.write_clip(clip, folder / "videos" / f"{name}.mp4", rng)
            for place, question in enumerate(asked[:questions], start=1):
                rows += 1
                question_id = f"{name}_{place}"
                writer.writerow(
                    (rows, number, question.answer, question.text, name, question_id, question.kind)
                )
                if moments := moments_of(clip, question):
                    boxes = [(second, *box) for second, box in boxes_of(clip, question)]
                    about = {"video": name, "question_id": question_id, "moments": moments}
                    truth.write(json.dumps(about | {"boxes": boxes}) + "\n")
            if progress is not None:
                progress(number, videos)
    return folder / "Toy_QA.csv", folder / "videos", rows
