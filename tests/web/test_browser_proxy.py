"""The page behind a proxy, under a name and a path that are not the server's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from page_server import running
from visitor import Visitor


@contextmanager
def proxy(listening: socket.socket, target: str) -> Iterator[None]:
    """Passes /videos/… on to a server's /…, as nginx would: with the server's name as the host."""
    httpx = pytest.importorskip("httpx", reason="the extra web is not installed")
    uvicorn = pytest.importorskip("uvicorn", reason="the extra web is not installed")
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    behind = httpx.AsyncClient(base_url=target, timeout=60)

    async def pass_on(request):
        url = "/" + request.path_params["rest"]
        if request.url.query:
            url += "?" + request.url.query
        headers = [(name, value) for name, value in request.headers.raw if name != b"host"]
        sent = behind.build_request(
            request.method, url, headers=headers, content=await request.body()
        )
        answer = await behind.send(sent, stream=True)
        kept = {k: v for k, v in answer.headers.items() if k != "transfer-encoding"}
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept)

    methods = ["GET", "POST", "HEAD"]
    app = Starlette(routes=[Route("/videos/{rest:path}", pass_on, methods=methods)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(20)


def test_the_page_works_behind_its_password(llm, chromium):
    with (
        running(llm, password="sesam") as server,
        Visitor(chromium, server.url, password="sesam") as visitor,
    ):
        visitor.example("star")
        visitor.ask("What color is the star?")
        assert visitor.answer_to("What color is the star?") == "red"
        assert visitor.errors == []


def test_the_page_works_under_another_name_and_path(llm, chromium):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"http://videos.localhost:{listening.getsockname()[1]}/videos"
        with (
            running(llm, root_path=address) as server,
            proxy(listening, server.url),
            Visitor(chromium, address + "/") as visitor,
        ):
            visitor.example("star")
            visitor.ask("What color is the star?")
            assert visitor.answer_to("What color is the star?") == "red"
            visitor.page.click(".fvl-thumb >> nth=1")
            second = float(visitor.page.get_attribute(".fvl-thumb >> nth=1", "data-second"))
            visitor.wait_for_player_at(second)
            with visitor.page.expect_download() as download:
                visitor.page.click(".fvl-downloads a >> nth=0")
            assert download.value.suggested_filename == "why.png"
            assert visitor.outside() == []
