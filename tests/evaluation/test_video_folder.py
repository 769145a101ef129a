"""Finding videos: any ending, `v_` or not, and never outside the folder."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from free_video_llm.benchmarks.videos import VideoFolder, without_suffix
from free_video_llm.errors import ConfigError, VideoError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    (root / "deep" / "er").mkdir(parents=True)
    for name in ("a.mp4", "b.AVI", "c.webm", "c.mkv", "v_d.mov", "e.gif", "6H_11.1_19.6.mp4"):
        (root / name).touch()
    (root / "deep" / "er" / "f.mp4").touch()
    (root / "deep" / "a.mp4").touch()
    (root / "notes.txt").touch()
    (root / "pictures").mkdir()
    (root / "pictures" / "1.png").touch()
    (tmp_path / "secret.mp4").touch()
    return root


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a", "a.mp4"),
        ("a.mp4", "a.mp4"),
        ("a.webm", "a.mp4"),
        ("b", "b.AVI"),
        ("c", "c.mkv"),
        ("d", "v_d.mov"),
        ("v_d", "v_d.mov"),
        ("v_a", "a.mp4"),
        ("e", "e.gif"),
        ("6H_11.1_19.6", "6H_11.1_19.6.mp4"),
        ("f", "deep/er/f.mp4"),
        ("deep/a", "deep/a.mp4"),
        ("pictures", "pictures"),
    ],
)
def test_a_video_is_found(folder: Path, name, found):
    assert VideoFolder(folder).find(name) == folder / found


@pytest.mark.parametrize("name", ["z", "notes", "6H_11", "A"])
def test_a_video_that_is_not_there(folder: Path, name):
    with pytest.raises(VideoError, match="no video"):
        VideoFolder(folder).find(name)


@pytest.mark.parametrize(
    "name",
    [
        "../secret", "..\\secret", "deep/../../secret", "/etc/passwd", "C:\\x", "\\\\host\\x",
        "..", "", "a\x00b", "a\nb", "v_/../../secret",
    ],
)  # fmt: skip
def test_a_name_that_leaves_the_folder_is_refused(folder: Path, name):
    with pytest.raises(VideoError, match="refused"):
        VideoFolder(folder).find(name)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(folder: Path):
    (folder / "out.mp4").symlink_to(folder.parent / "secret.mp4")
    (folder / "in.mp4").symlink_to(folder / "a.mp4")
    (folder / "away").symlink_to(folder.parent)
    videos = VideoFolder(folder)
    assert videos.find("in") == folder / "in.mp4"
    for name in ("out", "away"):
        with pytest.raises(VideoError, match="link out of"):
            videos.find(name)
    with pytest.raises(VideoError, match="no video"):
        videos.find("away/secret")


def test_a_folder_of_pictures_with_a_link_out_of_it_is_refused(folder: Path):
    (folder.parent / "secret.png").touch()
    (folder / "pictures" / "2.png").symlink_to(folder.parent / "secret.png")
    with pytest.raises(VideoError, match="a picture that is a link out of"):
        VideoFolder(folder).find("pictures")


def test_the_folder_itself_may_be_a_link(folder: Path):
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert VideoFolder(link).find("a") == link / "a.mp4"


def test_no_folder(tmp_path: Path):
    with pytest.raises(ConfigError, match="no folder of videos"):
        VideoFolder(tmp_path / "none")


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_a_letter_with_a_mark_is_one_letter_in_both_spellings(tmp_path: Path, on_disk, asked):
    name = unicodedata.normalize(on_disk, "été à la plage")
    (tmp_path / f"{name}.mp4").touch()
    found = VideoFolder(tmp_path).find(unicodedata.normalize(asked, "été à la plage"))
    assert found == tmp_path / f"{name}.mp4"


def test_only_known_endings_are_taken_off():
    assert without_suffix("x.6") == "x.6"
    assert without_suffix("x.MP4") == "x"
    assert without_suffix(".mp4") == ".mp4"
