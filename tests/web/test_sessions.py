"""Sessions stay apart, hold a bounded memory, and leave no file behind."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from free_video_llm import VideoError
from free_video_llm.web.limits import Limits
from free_video_llm.web.sessions import Clip, Sampling, Sessions
from free_video_llm.web.uploads import ORPHAN_SECONDS


def chosen(sessions: Sessions, name: str, path: Path):
    """A session that has chosen a file."""
    session = sessions.get(name)
    true = sessions.uploads.claim(path, name)
    sessions.choose(session, Clip(true, true.name, 7.5, 320, 240))
    return session


def sampling(session, frames: int = 8) -> Sampling:
    return Sampling(session.clip.path, "tiny", frames, "corrected")


def test_another_clip_takes_the_place_of_the_one_before(sessions, upload, llm):
    first, second = upload("sample:star"), upload("sample:cuts")
    session = chosen(sessions, "a", first)
    video = llm.watch(first, frames=8)
    sessions.keep(session, sampling(session), video)
    assert session.watched[1] is video
    result = sessions.add_result(session, "answer", (video.ask("Is there a star?"),))
    assert sessions.find_result(result) is not None
    chosen(sessions, "a", second)
    assert not first.exists()
    assert not first.parent.exists()
    assert second.exists()
    assert session.watched is None
    assert sessions.find_result(result) is None


def test_a_file_that_two_hold_goes_with_the_second(sessions, upload):
    path = upload("sample:star")
    chosen(sessions, "a", path)
    chosen(sessions, "b", path)
    sessions.end("a")
    assert path.exists()
    sessions.end("b")
    assert not path.exists()
    assert len(sessions) == 0


def test_no_file_outside_the_folder_can_be_claimed(sessions, upload, tmp_path: Path):
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"secret")
    link = sessions.uploads.folder / "link.mp4"
    link.symlink_to(outside)
    up = sessions.uploads.folder / ".." / "outside.mp4"
    for path in (outside, link, up, "/etc/passwd", sessions.uploads.folder, "nothing.mp4"):
        with pytest.raises(VideoError, match="no longer on the server"):
            sessions.uploads.claim(path, "a")
    assert outside.read_bytes() == b"secret"


def test_what_arrives_after_the_page_was_closed_is_dropped(sessions, upload, llm):
    path = upload("sample:star")
    session = chosen(sessions, "a", path)
    kind = sampling(session)
    video = llm.watch(path, frames=8)
    sessions.end("a")
    sessions.keep(session, kind, video)
    assert session.watched is None
    late = upload("sample:cuts")
    sessions.choose(session, Clip(sessions.uploads.claim(late, "a"), late.name, 1.0, 320, 240))
    assert not late.exists()
    name = sessions.add_result(session, "answer", (video.ask("Is there a star?"),))
    assert sessions.find_result(name) is None


def test_memory_is_bounded_and_the_longest_unused_goes_first(uploads, upload, llm):
    video = llm.watch(upload("sample:star"), frames=8)
    one = video.features.nbytes() + video.frames.pixels.nbytes
    sessions = Sessions(uploads, Limits(memory_bytes=2 * one))
    made = [chosen(sessions, name, upload("sample:star")) for name in "abc"]
    for session in made[:2]:
        sessions.keep(session, sampling(session), llm.watch(session.clip.path, frames=8))
    sessions.get("a")  # used again: now b is the longest unused
    sessions.keep(made[2], sampling(made[2]), llm.watch(made[2].clip.path, frames=8))
    assert [session.watched is not None for session in made] == [True, False, True]
    sessions.forget_model("tiny")
    assert [session.watched for session in made] == [None, None, None]


def test_the_longest_idle_clip_makes_room_for_a_new_one(uploads, upload):
    sessions = Sessions(uploads, Limits(sessions=2))
    paths = [upload("sample:star") for _ in range(3)]
    for name, path in zip("ab", paths):
        chosen(sessions, name, path)
    sessions.get("a")
    sessions.get("c")
    assert [path.exists() for path in paths] == [True, True, True]
    third = chosen(sessions, "c", paths[2])
    assert [path.exists() for path in paths] == [True, False, True]
    chosen(sessions, "c", paths[2])  # its own clip counts once
    assert [path.exists() for path in paths] == [True, False, True]
    assert sessions.get("c") is third


def test_pages_without_a_clip_cost_nobody_theirs(uploads, upload):
    sessions = Sessions(uploads, Limits(sessions=2))
    path = upload("sample:star")
    mine = chosen(sessions, "mine", path)
    for number in range(20):
        sessions.get(f"made up {number}")
    assert path.exists()
    assert sessions.get("mine") is mine
    assert len(sessions) == 3


def test_idle_sessions_and_forgotten_files_are_swept(uploads, upload):
    now = [0.0]
    sessions = Sessions(uploads, Limits(idle_seconds=60), clock=lambda: now[0])
    path = upload("sample:star")
    chosen(sessions, "a", path)
    forgotten, fresh = upload("sample:cuts"), upload("sample:needle")
    long_ago = time.time() - ORPHAN_SECONDS - 1
    os.utime(forgotten, (long_ago, long_ago))
    os.utime(path, (long_ago, long_ago))
    now[0] = 60.0
    sessions.sweep()
    assert (path.exists(), forgotten.exists(), fresh.exists()) == (True, False, True)
    now[0] = 60.1
    sessions.sweep()
    assert not path.exists()
    assert len(sessions) == 0


def test_results_keep_no_token_vectors_and_have_names_that_cannot_be_guessed(sessions, upload, llm):
    path = upload("sample:star")
    session = chosen(sessions, "a", path)
    answer = llm.watch(path, frames=8).ask("Is there a star?")
    name = sessions.add_result(session, "answer", (answer,))
    (kept,) = sessions.find_result(name)
    assert kept.to_dict() == answer.to_dict()
    assert kept.visual_tokens.embeds.numel() == 0
    assert len(name) >= 22
    assert sessions.find_result("") is None
    assert sessions.find_result("ä") is None
    assert sessions.add_result(session, "answer", (answer,)) != name
    assert sessions.find_result(name) is None


def test_many_threads_begin_and_end_sessions(uploads, upload):
    sessions = Sessions(uploads, Limits(sessions=5))
    errors = []

    def visit(number: int) -> None:
        try:
            for turn in range(40):
                sessions.get(f"{number}-{turn}")
                sessions.sweep()
                sessions.end(f"{number}-{turn - 1}")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(sessions) <= 5  # none has a clip
