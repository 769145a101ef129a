"""Tools for agents, by the official SDK's own client: in this process, and over standard input."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

import anyio
from mcp import Client, StdioServerParameters
from PIL import Image

from free_video_llm import VideoLLM
from free_video_llm.integrations.mcp_server import build_server
from free_video_llm.samples import find

QUESTION = "What color is the diamond?"


def call(server: Any, tool: str, arguments: dict[str, Any]) -> Any:
    async def run() -> Any:
        async with Client(server) as client:
            return await client.call_tool(tool, arguments)

    return anyio.run(run)


def tools_of(server: Any) -> set[str]:
    async def run() -> set[str]:
        async with Client(server) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    return anyio.run(run)


@pytest.fixture(scope="module")
def scorer() -> VideoLLM:
    return VideoLLM.for_frames("tiny")


def test_the_frames_that_a_question_is_about(scorer):
    """As `fvl frames` chooses them: pictures after their times, and a list of them."""
    server = build_server(lambda: scorer)
    assert tools_of(server) == {"find_frames"}
    reply = call(server, "find_frames", {"video": "sample:needle", "question": QUESTION})
    kinds = [part.type for part in reply.content]
    assert kinds == ["text", "image"] * 4 + ["text"]
    about = json.loads(reply.content[-1].text)
    wanted = scorer.watch("sample:needle").find(QUESTION, plan="lean").pathways[0].kept
    assert [frame["second"] for frame in about["frames"]] == [round(k.second, 3) for k in wanted]
    with Image.open(io.BytesIO(base64.b64decode(reply.content[1].data))) as picture:
        assert picture.format == "JPEG"
        assert picture.width > 96  # the clip's own sharpness, not the tower's
    few = call(
        server, "find_frames", {"video": "sample:needle", "question": QUESTION, "max_images": 2,
                                "start": "0:01", "end": "3"},
    )  # fmt: skip
    assert [part.type for part in few.content].count("image") == 2
    assert all(1 <= f["second"] <= 3 for f in json.loads(few.content[-1].text)["frames"])


def test_an_answer_where_a_model_is_named():
    server = build_server(lambda: VideoLLM.from_pretrained("tiny"), answers=True)
    assert tools_of(server) == {"find_frames", "ask_video"}
    reply = call(
        server, "ask_video", {"video": "sample:star", "question": "What color is the star?"}
    )
    assert json.loads(reply.content[0].text)["answer"] == "red"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"video": "sample:none"}, "unknown sample"),
        ({"video": "/no/such.mp4"}, "below the folders"),
        ({"video": "https://example.org/v.mp4"}, "below the folders"),
        ({"video": "sample:star", "plan": "papr"}, "papr"),
        ({"video": "sample:star", "start": "x"}, "a time is"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(arguments, said, scorer, tmp_path):
    server = build_server(lambda: scorer, folders=[tmp_path])
    reply = call(server, "find_frames", {"question": QUESTION, **arguments})
    assert reply.is_error
    text = reply.content[0].text
    assert said in text
    assert "Traceback" not in text


def test_files_below_a_folder(scorer, tmp_path):
    (tmp_path / "v.mp4").write_bytes(Path(find("sample:star")).read_bytes())
    server = build_server(lambda: scorer, folders=[tmp_path])
    reply = call(server, "find_frames", {"question": "?", "video": str(tmp_path / "v.mp4")})
    assert not reply.is_error
    outside = call(server, "find_frames", {"question": "?", "video": f"{tmp_path}/../x.mp4"})
    assert outside.is_error


def test_over_standard_input_and_output():
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "free_video_llm", "mcp", "--model", "tiny"]
    )
    reply = call(server, "ask_video", {"video": "sample:star", "question": "Where is the moon?"})
    assert json.loads(reply.content[0].text)["answer"] == "top right"
