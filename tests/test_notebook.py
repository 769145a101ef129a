"""What a notebook and an asynchronous program see: answers that show themselves, closed models."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from free_video_llm import VideoLLM

QUESTION = "What color is the <star>?"


@pytest.fixture(scope="module")
def answer():
    video = VideoLLM.from_pretrained("tiny").watch("sample:star", frames=8)
    return video.ask(QUESTION, plan="lean", max_new_tokens=4)


def test_an_answer_shows_itself(answer, monkeypatch):
    assert Image.open(io.BytesIO(answer._repr_png_())).format == "PNG"
    page = answer._repr_html_()
    assert "What color is the &lt;star&gt;?" in page
    assert f"<b>{answer.text}</b>" in page
    assert page.count("data:image/png;base64,") == 1
    assert answer.figure().axes
    shown: list[tuple[int, int]] = []
    monkeypatch.setattr(Image.Image, "show", lambda image: shown.append(image.size))
    answer.show()
    assert len(shown) == 1


def test_a_model_is_given_up_with_its_block():
    with VideoLLM.from_pretrained("tiny") as llm:
        text = llm.watch("sample:star", frames=8).ask("Is there a star?", plan="lean").text
    assert text == "yes"
    assert repr(llm) == "VideoLLM('tiny', closed)"
    with pytest.raises(AttributeError):
        llm.watch("sample:star")
    llm.close()


def test_questions_side_by_side_are_answered_as_one_by_one():
    video = VideoLLM.from_pretrained("tiny").watch("sample:star", frames=8)
    questions = [f"Is there a {shape}?" for shape in ("star", "ring", "moon", "circle")] * 3
    wanted = [video.ask(q, plan="lean", max_new_tokens=3).text for q in questions]

    async def ask_all() -> list[str]:
        found = await asyncio.gather(
            *(video.aask(q, plan="lean", max_new_tokens=3) for q in questions)
        )
        return [one.text for one in found]

    assert asyncio.run(ask_all()) == wanted
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda q: video.ask(q, plan="lean", max_new_tokens=3).text, questions)
        assert list(found) == wanted


def test_the_notebook_of_the_docs_runs():
    """docs/first-steps.ipynb, cell by cell, in a kernel of its own."""
    nbclient = pytest.importorskip("nbclient", reason="the extra dev is not installed")
    pytest.importorskip("ipykernel", reason="the extra dev is not installed")
    import nbformat

    path = Path(__file__).parents[1] / "docs" / "first-steps.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # kept without
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [
        output.get("data", {}) | {"text": output.get("text", "")}
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]
    assert not [o for c in notebook.cells for o in c.get("outputs", ()) if "ename" in o]
    texts = [data.get("text/plain", "") + data["text"] for data in shown]
    assert any("image/png" in data for data in shown)
    assert any("data:image/png" in data.get("text/html", "") for data in shown)
    assert any(text.startswith("VideoLLM('tiny'") for text in texts)
    assert any("lean" in text and "yellow" in text for text in texts)
    assert "'bottom right'" in texts
