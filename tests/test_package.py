"""The sdist and the wheel: built, checked, and used with nothing of the checkout beside them."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import free_video_llm

ROOT = Path(__file__).parents[1]
pytest.importorskip("build", reason="the extra dev is not installed")
pytest.importorskip("hatchling", reason="the extra dev is not installed")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("there is no checkout beside the tests")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def test_twine_has_nothing_to_say(built):
    pytest.importorskip("twine", reason="the extra dev is not installed")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_has_what_it_needs_and_nothing_else(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = wheel.namelist()
        about = next(name for name in names if name.endswith("/METADATA"))
        metadata = Parser().parsestr(wheel.read(about).decode())
        doors = wheel.read(about.replace("METADATA", "entry_points.txt")).decode()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"free_video_llm", about.split("/")[0]}
    for needed in ("py.typed", "tiny/weights/model.safetensors", "tiny/samples/star.mp4",
                   "evaluation/configs/toy.yaml", "evaluation/judge_protocol.json",
                   "web/page.css", "web/page.js"):  # fmt: skip
        assert f"free_video_llm/{needed}" in names
    assert not [n for n in names if n.endswith((".pyc", ".log")) or "__pycache__" in n]
    assert metadata["Version"] == free_video_llm.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"web", "server", "serve", "sets", "cluster"} <= set(metadata.get_all("Provides-Extra"))
    assert "fvl = free_video_llm.__main__:main" in doors
    assert "lmms_eval.models" in doors
    assert built[1].stat().st_size < 20_000_000


def test_the_sdist_has_tests_docs_and_no_outputs(built):
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    for needed in ("README.md", "LICENSE", "CITATION.cff", "SECURITY.md", "pyproject.toml",
                   "tests/test_package.py", "docs/serve.md", "constraints.txt",
                   "conftest.py"):  # fmt: skip
        assert needed in names
    assert not [n for n in names if n.startswith(("outputs", "build", ".venv", "playground"))]


def test_the_wheel_answers_with_nothing_of_the_checkout_beside_it(built, tmp_path):
    """In an environment of its own, which has our dependencies and not us."""
    where = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(where)], check=True)
    python = where / "bin" / "python"
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    with zipfile.ZipFile(built[1]) as wheel:
        wheel.extractall(own)
    Path(own, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, *arguments], capture_output=True, text=True, cwd=tmp_path)

    place = run("-c", "import free_video_llm; print(free_video_llm.__file__)").stdout
    assert place.startswith(str(where))
    asked = run("-m", "free_video_llm", "ask", "sample:star", "What color is the star?", "--quiet")
    assert asked.stdout.strip() == "red", asked.stderr
    assert (
        run("-m", "free_video_llm", "eval", "configs/msvd.yaml", "--print-config").returncode == 0
    )
    version = run("-m", "free_video_llm", "--version").stdout.strip()
    assert version == f"fvl {free_video_llm.__version__}"
