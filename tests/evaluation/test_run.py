"""Runs: every row accounted for, resumed, refused, in shards; failures stay rows."""

from __future__ import annotations

import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from made_questions import write_csv
from made_runs import made_rows

from free_video_llm import VideoLLM
from free_video_llm.benchmarks import Question
from free_video_llm.errors import CheckpointError, ConfigError
from free_video_llm.evaluation.config import RunConfig, Task
from free_video_llm.evaluation.config_file import print_config
from free_video_llm.evaluation.jsonl import LineWriter
from free_video_llm.evaluation.row import Row
from free_video_llm.evaluation.run import Progress, run_task
from free_video_llm.evaluation.run_dir import RunFolder, find_run
from free_video_llm.evaluation.units import Shard, divide
from media import make_sound


def answers(config: RunConfig) -> dict[int, tuple]:
    """What a run says, apart from how long it took."""
    folder = RunFolder(Path(config.outputs) / config.tasks[0].set / config.name)
    return {
        row["row"]: (row["status"], row.get("prediction"), row.get("token_ids"), row.get("reason"))
        for row in made_rows(folder)
    }


def lines(config: RunConfig) -> int:
    folder = RunFolder(Path(config.outputs) / config.tasks[0].set / config.name)
    return sum(file.read_bytes().count(b"\n") for file in folder.results_files())


def change(config: RunConfig, **task: str) -> RunConfig:
    return replace(config, tasks=(replace(config.tasks[0], **task),))


def test_every_question_has_a_row_with_its_tokens_and_evidence(config, loader):
    seen: list[Progress] = []
    outcome = run_task(config, config.tasks[0], load=loader, progress=seen.append)
    assert (outcome.rows, outcome.answered, outcome.failed, outcome.not_reached) == (40, 40, 0, 0)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert (seen[0].done, seen[-1].done, seen[-1].new, seen[-1].wanted) == (0, 40, 40, 40)
    rows = made_rows(find_run(outcome.folder))
    assert [row["row"] for row in rows] == list(range(1, 41))
    for row in rows:
        assert row["status"] == "answered"
        assert row["tokens"]["visual"] == 2 * 4 * 2 + 4 * 4
        assert 1 <= len(row["token_ids"]) <= 3
        assert row["timings"]["encode"] > 0
        assert [p["name"] for p in row["evidence"]["pathways"]] == ["slow", "fast"]
        assert len(row["evidence"]["sampled"]["scores"]) == 4


def test_what_was_run_stands_beside_the_rows(config, loader):
    outcome = run_task(config, config.tasks[0], load=loader, limit=1)
    run = json.loads((outcome.folder / "run.json").read_text())
    assert run["full_config"] == config.to_dict()
    assert run["settings"]["plan"] == config.resolved_plan().to_dict()
    assert run["questions"]["rows"] == 40
    assert run["questions"]["videos"] == 8
    assert run["model"]["fingerprint"].startswith("sha256:")
    assert {"torch", "transformers", "free-video-llm", "python"} <= set(run["versions"])


def test_each_video_is_decoded_and_encoded_once(config, model, monkeypatch):
    watched: list[str] = []

    class Counting(VideoLLM):
        def __init__(self) -> None:
            self.__dict__.update(model.__dict__)

        def watch(self, source, **options):  # type: ignore[no-untyped-def]
            watched.append(Path(source).name)
            return VideoLLM.watch(model, source, **options)

        ask = model.ask

    run_task(config, config.tasks[0], load=lambda c: Counting())
    assert sorted(watched) == [f"clip{i}.mp4" for i in range(8)]


def test_a_video_is_held_only_while_its_questions_come(config, model):
    watched: list[weakref.ref] = []
    alive: list[int] = []

    class Watching(VideoLLM):
        def __init__(self) -> None:
            self.__dict__.update(model.__dict__)

        def watch(self, source, **options):  # type: ignore[no-untyped-def]
            video = VideoLLM.watch(model, source, **options)
            watched.append(weakref.ref(video.features))
            return video

        def ask(self, pairs, **options):  # type: ignore[no-untyped-def]
            alive.append(sum(reference() is not None for reference in watched))
            return model.ask(pairs, **options)

    run_task(config, config.tasks[0], load=lambda c: Watching())
    assert len(watched) == 8
    assert len(alive) >= 40 // 3
    assert max(alive) == 2  # a batch of three is on two videos of five questions at most


def test_a_stopped_run_goes_on_and_says_the_same(config, loader):
    class StoppedError(Exception):
        pass

    def stop_after(count: int):  # type: ignore[no-untyped-def]
        def progress(p: Progress) -> None:
            if p.new >= count:
                raise StoppedError

        return progress

    for _ in range(3):
        with pytest.raises(StoppedError):
            run_task(config, config.tasks[0], load=loader, progress=stop_after(5))
    assert 15 <= lines(config) < 40
    outcome = run_task(config, config.tasks[0], load=loader)
    assert outcome.answered == lines(config) == 40
    whole = replace(config, name="whole")
    run_task(whole, whole.tasks[0], load=loader)
    assert answers(config) == answers(whole)


def test_a_finished_run_loads_no_model(config, loader):
    run_task(config, config.tasks[0], load=loader)

    def refuse(_: RunConfig) -> VideoLLM:
        raise AssertionError("loaded")

    assert run_task(config, config.tasks[0], load=refuse).new == 0


def test_a_limit_is_a_beginning_that_can_be_gone_on_with(config, loader):
    outcome = run_task(config, config.tasks[0], load=loader, limit=7)
    assert (outcome.answered, outcome.not_reached) == (7, 33)
    assert sorted(answers(config)) == list(range(1, 8))
    assert run_task(config, config.tasks[0], load=loader).answered == lines(config) == 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 5}, "settings.frames: was 4, now 5"),
        ({"plan": "uniform"}, "settings.plan"),
        ({"max_new_tokens": 4}, "settings.max_new_tokens: was 3, now 4"),
        ({"batch": 4}, "settings.batch: was 3, now 4"),
        ({"rules": "released"}, 'settings.plan.rules: was "corrected", now "released"'),
        ({"dtype": "float32"}, "load.dtype: was null"),
    ],
)
def test_a_changed_configuration_is_refused_with_the_difference(config, loader, change, words):
    run_task(config, config.tasks[0], load=loader, limit=3)
    before = lines(config)
    with pytest.raises(ConfigError, match="another configuration") as caught:
        run_task(replace(config, **change), config.tasks[0], load=loader)
    assert words in str(caught.value)
    assert lines(config) == before


def test_changed_questions_and_another_model_are_refused(config, loader, checkpoint, tmp_path):
    run_task(config, config.tasks[0], load=loader, limit=3)
    other = write_csv(tmp_path / "other.csv", [("clip0", "what?", "red")])
    with pytest.raises(ConfigError, match=r"questions\.hash"):
        run_task(config, change(config, questions=str(other)).tasks[0], load=loader)
    copy = tmp_path / "model"
    shutil.copytree(checkpoint, copy)
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    weights["lm_head.weight"] += 1
    save_file(weights, copy / "model.safetensors")
    changed = VideoLLM.from_pretrained(copy)
    with pytest.raises(ConfigError, match=r"model\.fingerprint"):
        run_task(config, config.tasks[0], load=lambda c: changed)
    assert lines(config) == 3


def test_where_things_lie_may_change(config, loader, clips, tmp_path):
    run_task(config, config.tasks[0], load=loader, limit=3)
    moved = tmp_path / "moved"
    shutil.copytree(clips, moved)
    outcome = run_task(
        replace(config, logs="elsewhere"), change(config, videos=str(moved)).tasks[0], load=loader
    )
    assert outcome.answered == 40


def test_failures_are_rows_with_reasons(config, loader, clips, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos)
    make_sound(videos / "sound.mp4")
    (videos / "text.mp4").write_text("not a video")
    (tmp_path / "secret.mp4").write_bytes((clips / "clip0.mp4").read_bytes())
    source = write_csv(
        tmp_path / "q.csv",
        [
            ("clip0", "what is it?", "red"),
            ("none", "what is it?", "red"),
            ("sound", "what is it?", "red"),
            ("text", "what is it?", "red"),
            ("../secret", "what is it?", "red"),
            (str(tmp_path / "secret"), "what is it?", "red"),
            ("clip1", "", "red"),
            ("clip1", "what is it?", ""),
            ("clip1", "what? " * 2000, "red"),
            ("clip1", "__import__('os').system('touch mark')", "red"),
        ],
    )
    config = change(config, questions=str(source), videos=str(videos))
    outcome = run_task(config, config.tasks[0], load=loader)
    assert (outcome.rows, outcome.answered, outcome.failed) == (10, 2, 8)
    said = answers(config)
    assert [said[i][0] for i in (1, 10)] == ["answered"] * 2
    for row, words in {
        2: "no video 'none'",
        3: "VideoError",
        4: "VideoError",
        5: "refused",
        6: "refused",
        7: "the question is empty",
        8: "no correct answer",
        9: "tokens",
    }.items():
        assert words in said[row][3], said[row]
    assert not Path("mark").exists()


def test_failed_rows_are_tried_again_on_request_only(config, loader, clips, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos)
    (videos / "clip3.mp4").unlink()
    config = change(config, videos=str(videos))
    assert run_task(config, config.tasks[0], load=loader).failed == 5
    shutil.copy(clips / "clip3.mp4", videos)
    assert run_task(config, config.tasks[0], load=loader).failed == 5
    outcome = run_task(config, config.tasks[0], load=loader, retry_failed=True)
    assert (outcome.answered, outcome.failed, outcome.new) == (40, 0, 5)
    assert lines(config) == 40


def test_a_shard_tries_its_own_failures_again_and_leaves_the_others_files_alone(
    config, loader, clips, tmp_path
):
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos)
    for clip in videos.iterdir():
        clip.rename(clip.with_suffix(".away"))
    config = change(config, videos=str(videos))
    task = config.tasks[0]
    for i in (1, 2):
        run_task(config, task, load=loader, shard=Shard(i, 2))
    for clip in videos.iterdir():
        clip.rename(clip.with_suffix(".mp4"))
    folder = RunFolder(Path(config.outputs) / "toy" / "run")
    other = folder.results_file(Shard(1, 2))
    before = (other.stat().st_ino, other.read_bytes())
    outcome = run_task(config, task, load=loader, shard=Shard(2, 2), retry_failed=True)
    assert (other.stat().st_ino, other.read_bytes()) == before
    assert outcome.answered == outcome.new > 0
    assert outcome.failed == before[1].count(b"\n") == 40 - outcome.answered


def test_similarities_that_are_no_numbers_make_a_failed_row_not_a_failed_run(config, model, loader):
    class Overflowing(VideoLLM):
        def __init__(self) -> None:
            self.__dict__.update(model.__dict__)
            self.ask = model.ask

        def watch(self, source, **options):  # type: ignore[no-untyped-def]
            video = VideoLLM.watch(model, source, **options)
            if Path(source).stem == "clip3":
                video.features.frame_vectors[:] = float("nan")
            return video

    outcome = run_task(config, config.tasks[0], load=lambda c: Overflowing())
    assert (outcome.answered, outcome.failed) == (35, 5)
    reasons = {said[3] for said in answers(config).values() if said[0] == "failed"}
    assert len(reasons) == 1
    assert "not a number" in reasons.pop()


def test_a_cache_saves_the_encoding_and_changes_nothing(config, model, loader, tmp_path):
    from free_video_llm.encoder.cache import FeatureCache

    cache = FeatureCache(tmp_path / "features")
    run_task(config, config.tasks[0], load=loader, limit=5)  # begun without, gone on with
    run_task(config, config.tasks[0], load=loader, cache=cache)
    assert len(cache.files()) == 8
    again = replace(config, name="again")
    run_task(again, again.tasks[0], load=loader, cache=cache)
    plain = replace(config, name="plain")
    run_task(plain, plain.tasks[0], load=loader)
    rows = [made_rows(RunFolder(Path(c.outputs) / "toy" / c.name)) for c in (again, plain)]
    assert all(row["timings"]["encode"] == 0 for row in rows[0])
    assert all(row["timings"]["encode"] > 0 for row in rows[1])
    for row in (*rows[0], *rows[1]):
        del row["timings"]
    assert rows[0] == rows[1]


def test_one_question_s_failure_does_not_take_its_batch(config, model, loader):
    class Breaking(VideoLLM):
        def __init__(self) -> None:
            self.__dict__.update(model.__dict__)
            self.watch = model.watch

        def ask(self, pairs, **options):  # type: ignore[no-untyped-def]
            if any("number 2 of 3" in question for _, question in pairs):
                raise RuntimeError("out of memory\nsecond line")
            return model.ask(pairs, **options)

    outcome = run_task(config, config.tasks[0], load=lambda c: Breaking())
    assert (outcome.answered, outcome.failed) == (39, 1)
    (failed,) = [said for said in answers(config).values() if said[0] == "failed"]
    assert failed[3] == "RuntimeError: out of memory"


def test_shards_make_a_whole_and_more_shards_than_videos_are_no_fault(config, loader):
    for i in range(1, 12):
        run_task(config, config.tasks[0], load=loader, shard=Shard(i, 11))
    assert lines(config) == 40
    whole = replace(config, name="whole")
    run_task(whole, whole.tasks[0], load=loader)
    assert answers(config) == answers(whole)
    assert run_task(config, config.tasks[0], load=loader).new == 0
    with pytest.raises(ConfigError, match="begun in 11 shards"):
        run_task(config, config.tasks[0], load=loader, shard=Shard(1, 2))


@pytest.mark.parametrize(
    "text", ["0/2", "3/2", "1", "1/", "/2", "a/b", "-1/2", "1/2/3", "1/" + "9" * 99]
)
def test_a_wrong_shard_is_refused(text):
    with pytest.raises(ConfigError, match="a shard is written"):
        Shard.parse(text)


def test_units_hold_whole_videos_and_depend_on_questions_alone():
    made = [
        Question(row=row, video=f"v{row % 20}", question="q", answer="a") for row in range(1, 101)
    ]
    units = divide(made, 8)
    assert sorted(q.row for unit in units for q in unit.questions) == list(range(1, 101))
    homes = {q.video: [u for u in units if q in u.questions] for q in made}
    assert all(len({id(u) for u in found}) == 1 for found in homes.values())
    assert all(len(batch) <= 8 for unit in units for batch in unit.batches(8))
    tens = [Question(row=i, video=f"v{i // 10}", question="q", answer="a") for i in range(60)]
    sizes = [[len(batch) for batch in unit.batches(8)] for unit in divide(tens, 8)]
    assert sizes == [[8, 8, 8, 6], [8, 8, 8, 6]]  # batches go across videos
    single = [Question(row=i, video=f"v{i}", question="q", answer="a") for i in range(1, 21)]
    assert [len(unit.questions) for unit in divide(single, 100)] == [8, 8, 4]


def test_two_runs_at_once_are_refused(config, loader):
    def begin_again(p: Progress) -> None:
        if p.new:
            with pytest.raises(ConfigError, match="another process"):
                run_task(config, config.tasks[0], load=loader)

    run_task(config, config.tasks[0], load=loader, limit=3, progress=begin_again)


def test_rows_that_are_not_in_the_question_file_are_refused(config, loader):
    outcome = run_task(config, config.tasks[0], load=loader, limit=1)
    foreign = Row(Question(row=99, video="x", question="y", answer="z"), reason="none")
    with LineWriter(outcome.folder / "results.jsonl") as writer:
        writer.append([foreign.to_dict()])
    with pytest.raises(ConfigError, match="not in the question file: row 99"):
        run_task(config, config.tasks[0], load=loader)


def test_wrong_folders_are_named(config, loader, tmp_path):
    with pytest.raises(ConfigError, match="no folder of videos"):
        run_task(config, change(config, videos=str(tmp_path / "none")).tasks[0], load=loader)
    with pytest.raises(ConfigError, match="no run in"):
        find_run(tmp_path)
    with pytest.raises(CheckpointError):
        run_task(replace(config, model=str(tmp_path)), config.tasks[0])


def test_multiple_choice_gives_the_options_to_the_model(config, loader, tmp_path):
    source = tmp_path / "next.csv"
    source.write_text(
        ",video_name,question,answer,question_id,question_type,a0,a1,a2,a3,a4\n"
        "0,clip0,why is it?,c,1,CW,a,b,c,d,e\n1,clip0,how is it?,z,2,CH,a,b,c,d,e\n"
    )
    task = Task(set="nextqa", questions=str(source), videos=config.tasks[0].videos)
    config = replace(config, tasks=(task,))
    outcome = run_task(config, task, load=loader)
    assert (outcome.answered, outcome.failed) == (1, 1)
    row, failed = made_rows(find_run(outcome.folder))
    assert row["options"] == ["a", "b", "c", "d", "e"]
    assert failed["reason"] == "the correct answer is not among the options"


def test_our_yaml_of_a_run_is_what_was_run(config, loader, tmp_path):
    from free_video_llm.evaluation.config_file import read_config

    path = tmp_path / "run.yaml"
    path.write_text(print_config(config))
    assert read_config(path) == config
