"""Visual tokens decoded by a server: a small one of the tests', which runs the language model that
`fvl convert --language-model` wrote, by transformers; `make test-vllm` asks the real vLLM."""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from free_video_llm import ConfigError, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.errors import MissingExtraError, ModelServerError
from free_video_llm.models.folder import TINY

pytest.importorskip("openai", reason="the extra server is not installed")
QUESTIONS = ("What color is the star?", "Where is the moon?", "Is there a triangle?")


class Engine:
    """What of vLLM's completions our tokens go through."""

    def __init__(self, folder: Path) -> None:
        engine = self
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.seen: list[dict[str, Any]] = []
        self.says = ""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send({"object": "list", "data": [{"id": "alone", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                engine.seen.append(body)
                if engine.says:
                    self.send({"error": {"message": engine.says}}, status=400)
                else:
                    self.send(engine.complete(body))

            def send(self, value: dict[str, Any], status: int = 200) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["prompt"] == ""
        assert body["return_token_ids"] is True
        held = io.BytesIO(base64.b64decode(body["prompt_embeds"], validate=True))
        embeds = torch.load(held, weights_only=True)
        assert embeds.ndim == 2
        with torch.inference_mode():
            ids = self.model.generate(
                inputs_embeds=embeds[None], max_new_tokens=body["max_tokens"], do_sample=False,
                pad_token_id=0,
            )[0].tolist()  # fmt: skip
        text = engine_tokenizer().decode(ids, skip_special_tokens=True)
        choice = {"index": 0, "text": text, "token_ids": ids, "finish_reason": "stop"}
        usage = {"prompt_tokens": len(embeds), "completion_tokens": len(ids), "total_tokens": 0}
        return {"id": "x", "object": "text_completion", "created": 1, "model": "alone",
                "choices": [choice], "usage": usage}  # fmt: skip


def engine_tokenizer() -> Any:
    from free_video_llm.llm.tokenizer import load_tokenizer

    return load_tokenizer(TINY)


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("alone") / "model"
    assert main(["convert", "tiny", str(folder), "--language-model"]) == 0
    made = Engine(folder)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_same_answers_as_here(engine):
    """Id for id, alone and in a batch; and there is nothing left here that could decode."""
    here = VideoLLM.from_pretrained("tiny")
    there = VideoLLM.from_pretrained("tiny", engine_url=engine.url)
    assert not list(there.image_llm.model.model.language_model.layers)
    for plan in ("paper", "lean"):
        one, other = (llm.watch("sample:star", frames=20) for llm in (here, there))
        wanted = here.ask([(one, q) for q in QUESTIONS], plan=plan)
        found = there.ask([(other, q) for q in QUESTIONS], plan=plan)
        assert [a.text for a in found] == [a.text for a in wanted]
        assert [a.token_ids for a in found] == [a.token_ids for a in wanted]
        assert [a.prompt_tokens for a in found] == [a.prompt_tokens for a in wanted]
    alone = there.watch("sample:star", frames=20).ask(QUESTIONS[0], plan="lean")
    assert alone.token_ids == wanted[0].token_ids
    assert engine.seen[-1]["temperature"] == 0


def test_follow_ups_are_told_in_words(engine):
    there = VideoLLM.from_pretrained("tiny", engine_url=engine.url)
    chat = there.watch("sample:star", frames=8).chat(plan="lean", max_new_tokens=4)
    pieces: list[str] = []
    first = chat.ask(QUESTIONS[0], on_text=pieces.append)
    assert "".join(pieces) == first.text
    assert "Answer: " in chat.ask(QUESTIONS[1]).prompt
    assert chat.computed is None


def test_an_engine_here_wants_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match="needs vLLM in this environment"):
        VideoLLM.from_pretrained("tiny", engine="vllm")
    with pytest.raises(ConfigError, match="engine or engine_url, not both"):
        VideoLLM.from_pretrained("tiny", engine="vllm", engine_url="http://127.0.0.1:9/v1")


def test_what_cannot_be_done(engine, tmp_path):
    there = VideoLLM.from_pretrained("tiny", engine_url=engine.url)
    video = there.watch("sample:star", frames=8)
    with pytest.raises(ConfigError, match="no likelihoods"):
        video.ask("?", options=["a", "b"], choose="letters")
    with pytest.raises(ConfigError, match="num_beams"):
        video.ask("?", num_beams=2)
    engine.says = "prompt embeds are off"
    try:
        with pytest.raises(ModelServerError, match="enable-prompt-embeds"):
            video.ask("?")
    finally:
        engine.says = ""
    with pytest.raises(ModelServerError, match="cannot be reached"):
        VideoLLM.from_pretrained("tiny", engine_url="http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match="http"):
        VideoLLM.from_pretrained("tiny", engine_url="localhost")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").write_text("")
    assert main(["convert", "tiny", str(tmp_path / "x"), "--language-model"]) == 2
