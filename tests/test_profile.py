"""Operations are counted as torch counts them; the report adds up."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from checkpoint import Clip, Size, random_llava
from free_video_llm import VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.profile import bare_rate, cost_report
from free_video_llm.profiling import flops
from free_video_llm.profiling.memory import free_bytes, peak_bytes
from free_video_llm.samples import find


@pytest.fixture(scope="module")
def tiny() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


def counted(work) -> int:
    """The operations that torch counts; it knows nothing of the CPU's own attention kernel."""
    plain = sdpa_kernel(SDPBackend.MATH)
    with plain, FlopCounterMode(display=False) as counter, torch.inference_mode():
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("shared", [True, False])
def test_a_frames_operations_are_those_torch_counts(shared: bool):
    llm = random_llava(Size("small", Clip(3, 64), 2, 64), shared=shared)
    pixels = np.zeros((2, 336, 336, 3), np.uint8)
    assert counted(lambda: llm.towers.encode(pixels)) == pytest.approx(
        2 * flops.encode_frame(llm.towers), rel=0.02
    )


def test_a_tower_that_is_read_at_another_layer_is_counted_to_it():
    llm = random_llava(Size("small", Clip(4, 64), 2, 64), shared=False)
    before = flops.encode_frame(llm.towers)
    llm.towers.own.layer = -3
    layer = flops.encoder_layer(577, 64, 256)
    assert before - flops.encode_frame(llm.towers) == layer


@pytest.mark.parametrize("past", [0, 30])
def test_a_language_models_operations_are_those_torch_counts(tiny: VideoLLM, past: int):
    from transformers import DynamicCache

    model, config = tiny.image_llm.model, tiny.image_llm.model.config.text_config
    embeds = torch.zeros(1, 20, config.hidden_size)
    cache = DynamicCache(config=config)
    if past:
        model(inputs_embeds=torch.zeros(1, past, config.hidden_size), past_key_values=cache)
    found = counted(lambda: model(inputs_embeds=embeds, past_key_values=cache, logits_to_keep=1))
    # torch counts every pair of positions, those that the causal mask forbids as well.
    queries = config.num_hidden_layers * config.hidden_size
    forbidden = 4 * queries * (20 * 19 // 2)
    assert found - forbidden == pytest.approx(
        flops.language_model(config, [20], past=past), rel=0.02
    )


def test_the_report_adds_up(tiny: VideoLLM):
    video = tiny.watch(find("sample:star"), frames=8)
    answer = video.ask("What color is the star?", plan="prompt-3")
    report = cost_report(video, answer)
    assert report.seconds == pytest.approx(answer.timings.total)
    assert [step.name for step in report.steps] == [
        "decode", "towers", "question", "selection", "projection", "pre-fill", "new tokens",
    ]  # fmt: skip
    towers = report.steps[1]
    assert towers.operations == 8 * flops.encode_frame(tiny.towers)
    assert towers.rate == pytest.approx(towers.operations / towers.seconds)
    assert report.all_visual_tokens == 8 * 144
    assert 0 < report.useful_share() < 1.2
    assert len(report.token_seconds) == len(answer.token_ids) - 1 > 0
    assert sum(report.token_seconds) <= answer.timings.generate
    assert "each new token after the first" in str(report)
    text = str(report)
    assert "216 of 1,152 visual tokens" in text
    assert json.loads(json.dumps(report.as_dict()))["new_tokens"] == len(answer.token_ids)


def test_towers_cost_nothing_where_the_cache_had_the_video(tiny: VideoLLM, tmp_path):
    from free_video_llm.encoder.cache import FeatureCache

    for _ in range(2):
        video = tiny.watch(find("sample:star"), frames=4, cache=FeatureCache(tmp_path))
    report = cost_report(video, video.ask("Is there a star?"))
    assert report.steps[1].operations == 0


def test_profile_on_the_command_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FVL_CACHE", str(tmp_path / "kept"))
    ask = ["ask", "sample:star", "Is there a star?", "--frames", "4", "--profile", "--cache"]
    assert main(ask) == 0
    out, err = capsys.readouterr()
    assert out == "yes\n"
    assert "GFLOP/s" in err
    assert "peak memory" in err
    assert main([*ask, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["answers"][0]["profile"]["steps"][1]["operations"] == 0
    assert main(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 1
    assert main(["cache", "--clear"]) == 0
    assert "1 videos removed" in capsys.readouterr().out
    assert main(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 0


def test_a_cache_without_room_is_refused(capsys):
    assert main(["ask", "sample:star", "Is there a star?", "--cache", "--cache-gb", "0"]) == 2
    assert "--cache-gb is more than 0" in capsys.readouterr().err


# --- memory ---------------------------------------------------------------------------------------


def test_the_peak_is_this_processs_own():
    """A child of a large process starts small: getrusage's figure would be its parent's."""
    block = np.ones(300_000_000, np.uint8)
    code = "import numpy; import free_video_llm.profiling.memory as m; {} print(m.peak_bytes())"
    held = "b = numpy.ones(300_000_000, 'u1'); del b;"
    before, after = (
        int(subprocess.check_output([sys.executable, "-c", code.format(what)]))
        for what in ("", held)
    )
    assert after - before == pytest.approx(block.nbytes, rel=0.2)
    assert peak_bytes() >= block.nbytes


def test_a_containers_limit_bounds_what_is_free(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    monkeypatch.setattr("free_video_llm.profiling.memory._CGROUP", tmp_path)
    assert free_bytes(torch.device("cpu")) == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(torch.device("cpu")) > 600_000


def test_the_bare_rate_is_a_rate():
    assert bare_rate(torch.device("cpu"), torch.float32, side=256) > 1e8
