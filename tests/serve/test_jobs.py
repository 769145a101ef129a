"""Jobs of many questions, by the official client; and killed and gone on with."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from running import asked, serving

from free_video_llm import VideoLLM

openai = pytest.importorskip("openai")
pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")

SCRIPT = Path(__file__).parent / "jobs_until.py"
QUESTIONS = ("What color is the star?", "Where is the moon?", "Is there a star?")
OURS = {"fvl": {"plan": "uniform", "frames": 8}}


def rows(count: int) -> list[dict[str, Any]]:
    """Of which every fifth cannot be answered."""
    made = []
    for number in range(count):
        video = "sample:none" if number % 5 == 4 else ("sample:star", "sample:steady")[number % 2]
        body = asked(QUESTIONS[number % 3], video, **OURS)
        made.append({"custom_id": f"row-{number}", "method": "POST",
                     "url": "/v1/chat/completions", "body": body})  # fmt: skip
    return made


def text_of(some: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in some).encode()


def wait(client: Any, name: str) -> Any:
    while (batch := client.batches.retrieve(name)).status == "in_progress":
        time.sleep(0.02)
    return batch


def test_the_official_client(tiny, tmp_path):
    with serving(tiny, jobs=tmp_path) as made:
        client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0)
        file = client.files.create(file=("q.jsonl", io.BytesIO(text_of(rows(10)))), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",
            metadata={"for": "a test"},
        )  # fmt: skip
        batch = wait(client, batch.id)
        assert batch.status == "completed"
        assert batch.metadata == {"for": "a test"}
        counts = batch.request_counts
        assert (counts.total, counts.completed, counts.failed) == (10, 8, 2)
        good = client.files.content(batch.output_file_id).text.splitlines()
        bad = client.files.content(batch.error_file_id).text.splitlines()
        assert [b.id for b in client.batches.list()] == [batch.id]
        assert {f.id for f in client.files.list()} >= {file.id, batch.output_file_id}
        client.files.delete(file.id)
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(file.id)
    replies = {row["custom_id"]: row["response"]["body"] for row in map(json.loads, good)}
    for number, row in enumerate(rows(10)):
        if number % 5 == 4:
            continue
        video = row["body"]["messages"][0]["content"][0]["video_url"]["url"]
        alone = tiny.watch(video, frames=8).ask(QUESTIONS[number % 3], plan="uniform").text
        assert replies[f"row-{number}"]["choices"][0]["message"]["content"] == alone
    assert [json.loads(line)["custom_id"] for line in bad] == ["row-4", "row-9"]
    said = json.loads(bad[0])["response"]
    assert (said["status_code"], "unknown sample" in said["body"]["error"]["message"]) == (
        400,
        True,
    )


def begun(tiny: VideoLLM, folder: Path, count: int) -> dict[str, Any]:
    """A job that is on disk, and nobody works on."""
    from free_video_llm.serve.jobs import Jobs

    with serving(tiny) as made:
        jobs = Jobs(folder, made.desk)  # not entered: no thread
        file = jobs.add_file(text_of(rows(count)), name="q.jsonl", purpose="batch")
        batch = jobs.add({"input_file_id": file["id"], "endpoint": "/v1/chat/completions"})
        jobs._held.close()
    return batch


def results(folder: Path, batch: dict[str, Any]) -> dict[str, Any]:
    """What came out, by row: each once."""
    found: dict[str, Any] = {}
    for name in ("output_file_id", "error_file_id"):
        for line in (folder / "files" / f"{batch[name]}.jsonl").read_bytes().splitlines():
            row = json.loads(line)
            assert row["custom_id"] not in found
            body = row["response"]["body"]
            found[row["custom_id"]] = (
                row["response"]["status_code"],
                body["choices"][0]["message"]["content"] if "choices" in body else body["error"],
            )
    return found


def test_killed_at_chosen_points(tiny, tmp_path):
    """kill -9 before, within and after a row's line, of replies and of failures: no row is lost or
    doubled, and all are as in a job that nothing happened to."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    unbroken, batch = begun(tiny, whole, 12), begun(tiny, broken, 12)
    subprocess.run([sys.executable, SCRIPT, whole], check=True)
    for point in ("before 1", "within 2", "after 2", "within 1"):
        done = subprocess.run([sys.executable, SCRIPT, broken, *point.split()])
        assert done.returncode == -9, point
    subprocess.run([sys.executable, SCRIPT, broken], check=True)
    assert results(broken, batch) == results(whole, unbroken)
    assert len(results(whole, unbroken)) == 12


def test_a_job_that_is_cancelled_keeps_what_is_there(tiny, tmp_path):
    from free_video_llm.serve.jobs import Jobs

    batch = begun(tiny, tmp_path, 12)
    with serving(tiny) as made:
        jobs = Jobs(tmp_path, made.desk)
        submit, seen = jobs._submit, []

        def until_five(row: dict[str, Any]) -> Any:
            seen.append(row["custom_id"])
            if len(seen) == 5:
                jobs.cancel(batch["id"])
            return submit(row)

        jobs._submit = until_five
        with jobs:
            while len(results(tmp_path, batch)) < 8:  # of the first batch
                time.sleep(0.02)
    about = json.loads((tmp_path / "batches" / f"{batch['id']}.json").read_text())
    assert about["status"] == "cancelled"
    assert len(results(tmp_path, batch)) == 8


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no rows"),
        (b"x\n", "line 1"),
        (b'{"custom_id": "a"}\n', "line 1"),
        (b'{"custom_id": 3, "body": {}}\n', "line 1"),
        (text_of(rows(2)[:1] * 2), "was there before"),
        (text_of([rows(1)[0] | {"url": "/v1/embeddings"}]), "a row is POST"),
    ],
)
def test_files_that_are_no_jobs(content, said, tiny, tmp_path):
    from free_video_llm.serve.jobs import Jobs
    from free_video_llm.serve.refusals import Refusal

    with serving(tiny) as made:
        jobs = Jobs(tmp_path, made.desk)
        file = jobs.add_file(content, name="q", purpose="batch")
        with pytest.raises(Refusal, match=said):
            jobs.add({"input_file_id": file["id"], "endpoint": "/v1/chat/completions"})
        for wrong in (None, "", "../../etc/passwd", "file-" + "0" * 32):
            with pytest.raises(Refusal, match="none of that id"):
                jobs.add({"input_file_id": wrong, "endpoint": "/v1/chat/completions"})
        with pytest.raises(Refusal, match="endpoint"):
            jobs.add({"input_file_id": file["id"]})
        jobs._held.close()


def test_a_last_line_without_its_end_is_a_row(tiny, tmp_path):
    with serving(tiny, jobs=tmp_path) as made:
        client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0)
        file = client.files.create(
            file=("q.jsonl", io.BytesIO(text_of(rows(2)).rstrip())), purpose="batch"
        )
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert wait(client, batch.id).request_counts.completed == 2


def test_one_server_at_a_time(tiny, tmp_path):
    from free_video_llm import ConfigError

    with (
        serving(tiny, jobs=tmp_path),
        pytest.raises(ConfigError, match="another process"),
        serving(tiny, jobs=tmp_path),
    ):
        pass


def test_without_a_folder_there_are_no_jobs(client):
    with pytest.raises(openai.NotFoundError):
        client.batches.list()
