"""A password before the page, and that other machines are let in by one or on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_server import running

from free_video_llm import samples
from free_video_llm.cli.main import main
from free_video_llm.web.names import has_password

pytest.importorskip("gradio", reason="the extra web is not installed")
httpx = pytest.importorskip("httpx", reason="the extra web is not installed")
UPLOAD = "/gradio_api/upload"
STAR = Path(samples.find("sample:star"))


def test_a_password_under_any_user_s_name():
    def given(value: bytes) -> bool:
        return has_password({b"authorization": value}, "sesam:öffne")

    assert given(b"Basic OnNlc2FtOsO2ZmZuZQ==")
    assert given(b"basic bWU6c2VzYW06w7ZmZm5l")
    for wrong in (b"", b"Basic", b"Basic ?", b"Basic OnNlc2Ft", b"Bearer OnNlc2FtOsO2ZmZuZQ=="):
        assert not given(wrong)
    assert not has_password({}, "sesam:öffne")


def test_nothing_is_served_without_the_password(llm):
    with running(llm, password="sesam") as made, httpx.Client(base_url=made.url) as client:
        for path in ("/", "/config", f"/gradio_api/file={STAR}", "/answers/x/why.png"):
            refused = client.get(path)
            assert refused.status_code == 401, path
            assert refused.headers["www-authenticate"].startswith("Basic realm=")
        assert client.post(UPLOAD, files={"files": b"x"}).status_code == 401
        client.auth = ("me", "guess")
        assert client.get("/").status_code == 401
        client.auth = ("me", "sesam")
        assert client.get("/").status_code == 200
        assert client.post(UPLOAD, files={"files": STAR.read_bytes()}).status_code == 200


def test_other_machines_are_let_in_by_a_password_or_on_purpose(capsys, monkeypatch):
    started = []
    monkeypatch.setattr("free_video_llm.web.server.serve", lambda *a, **k: started.append(a[0]))
    monkeypatch.delenv("FVL_WEB_PASSWORD", raising=False)
    away = ["web", "--host", "0.0.0.0", "--allow-host", "videos.example"]
    assert main(away) == 2
    error = capsys.readouterr().err
    assert "set a password in FVL_WEB_PASSWORD, or say --no-password" in error
    assert len(error.splitlines()) == 1
    assert main([*away, "--no-password"]) == 0
    assert "whoever reaches this machine can use the page" in capsys.readouterr().err
    monkeypatch.setenv("FVL_WEB_PASSWORD", "sesam")
    assert main([*away, "--no-password"]) == 2
    capsys.readouterr()
    assert main(away) == 0
    error = capsys.readouterr().err
    assert "who has the password can use the page; there is no encryption" in error
    assert main(["web"]) == 0
    assert [(s.password, s.allowed_hosts) for s in started] == [
        (None, ("videos.example",)),
        ("sesam", ("videos.example",)),
        ("sesam", ()),
    ]
    assert "sesam" not in repr(started) + error
