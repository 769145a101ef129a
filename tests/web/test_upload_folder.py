"""The server's folder goes with the server, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from free_video_llm.web.folder import private_folder

HOLD = """
import sys
from free_video_llm.web.folder import private_folder
with private_folder() as folder:
    (folder / "clip.mp4").write_bytes(b"secret")
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(os.name == "nt", reason="a killed server's folder stays on Windows")
def test_a_killed_server_s_folder_is_deleted_by_the_next_and_a_running_one_s_is_not(
    tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    killed, running = (Path(process.stdout.readline().strip()) for process in processes)
    processes[0].kill()
    processes[0].wait()
    stranger = tmp_path / "fvl-web-without-a-lock"
    stranger.mkdir()
    assert (killed / "clip.mp4").exists()
    with private_folder() as folder:
        assert folder.parent == tmp_path
        assert not killed.exists()
        assert (running / "clip.mp4").read_bytes() == b"secret"
        assert stranger.exists()
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    processes[1].communicate("\n")
    assert not running.exists()
