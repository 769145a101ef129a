"""Run configurations: our YAML and the released one, round trips, and errors of one line."""

from __future__ import annotations

import string
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from free_video_llm.benchmarks import get_set
from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.config import RunConfig, Task
from free_video_llm.evaluation.config_file import (
    default_name,
    load_yaml,
    parse_config,
    print_config,
)
from free_video_llm.evaluation.config_file import read_config as read
from free_video_llm.llm.prompts import TEMPLATES
from free_video_llm.plans.plan import Plan
from plan_strategies import pathways

RELEASED = """\
SCRIPT: [
  "bash scripts/run_eval_videoqabench.sh",  # Openset VideoQA tasks
]

CUDA_VISIBLE_DEVICES: "0,1,2,3,4,5,6,7"
CONFIG_NAME: "auto"
DATA_DIR: [
  "playground/data/video_qa",
]
GT_QA_DIR: "playground/gt_qa_files"
MODEL_PATH: "liuhaotian/llava-v1.6-vicuna-7b/"
OUTPUT_DIR: "outputs/artifacts"
TEMP_DIR: "outputs/eval_save_dir"
CONV_MODE: [
  "image_seq_v3",
]
NUM_FRAMES: "50"
INPUT_STRUCTURE: "image_seq"
IMAGE_ASPECT_RATIO: "resize"
TEMPORAL_AGGREGATION: "slow_3frms_spatial_1d_max_pool_roi8-middle_5frms_spatial_1d_max_pool_24x12-fast_50frms_4x4"
ROPE_SCALING_FACTOR: 2
SAVE_DIR: "outputs/artifacts/logs"
"""  # noqa: E501 (the released line)

SETS = ("msvd", "msrvtt", "tgif", "activitynet", "nextqa", "intentqa", "egoschema", "star", "toy")


def released(**changes: object) -> str:
    data = yaml.safe_load(RELEASED) | changes
    return yaml.safe_dump({key: value for key, value in data.items() if value is not None})


def test_the_released_file_becomes_our_configuration():
    config = parse_config(RELEASED, name="free_video_llm_7b")
    assert config.name == "free_video_llm_7b"
    assert [task.set for task in config.tasks] == ["msvd", "msrvtt", "tgif", "activitynet"]
    assert config.tasks[0].videos == "playground/data/video_qa/MSVD_Zero_Shot_QA/videos"
    assert config.tasks[3].videos == "playground/data/video_qa/Activitynet_Zero_Shot_QA/all_test"
    assert {task.conv_mode for task in config.tasks} == {"image_seq_v3"}
    assert config.model == "liuhaotian/llava-v1.6-vicuna-7b"
    assert (config.frames, config.rope_scaling_factor, config.max_new_tokens) == (50, 2.0, 128)
    assert config.resolved_plan().rules == "released"
    assert config.resolved_plan().count_tokens(frames=50, side=24) == 2648
    assert config.resize is None  # the rules decide
    assert config.devices == "0,1,2,3,4,5,6,7"
    assert (config.replies, config.logs) == ("outputs/eval_save_dir", "outputs/artifacts/logs")


def test_values_for_each_script_and_one_for_all():
    text = released(
        SCRIPT=["bash scripts/run_eval_videoqabench.sh", "bash scripts/run_eval_nextqa.sh"],
        DATA_DIR=["data/video_qa", "data/multiple_choice_qa"],
        CONV_MODE=["image_seq_v3", "multiple_choice_allvideo_v4"],
        TEMPORAL_AGGREGATION="slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4",
    )
    config = parse_config(text, name="x")
    assert config.tasks[-1] == Task(
        set="nextqa",
        videos="data/multiple_choice_qa/NExTQA/video",
        conv_mode="multiple_choice_allvideo_v4",
    )
    assert config.resolved_plan().count_tokens(frames=50, side=24) == 3680


def test_the_released_file_printed_as_ours_is_the_same_configuration():
    config = parse_config(RELEASED, name="free_video_llm_7b")
    text = print_config(config)
    assert "SCRIPT" not in text
    assert parse_config(text, name="other") == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (released(MODEL_PAHT="x"), "did you mean 'MODEL_PATH'?"),
        (released(SCRIPT=None), "SCRIPT is missing"),
        (released(SCRIPT="rm -rf /"), "never run"),
        (released(SCRIPT="bash scripts/run_eval_msvdd.sh"), "did you mean 'msvd'?"),
        (released(SCRIPT="bash scripts/run_eval_generativebench.sh"), "text generation"),
        (released(SCRIPT="bash x/run_eval_msvd.sh; touch y"), "not one of the released scripts"),
        (released(NUM_FRAMES="many"), "NUM_FRAMES is a whole number"),
        (released(NUM_FRAMES=0), "NUM_FRAMES is a whole number"),
        (released(INPUT_STRUCTURE="image_grid"), "INPUT_STRUCTURE can only be 'image_seq'"),
        (released(IMAGE_ASPECT_RATIO="pad"), "IMAGE_ASPECT_RATIO can only be 'resize'"),
        (released(CONV_MODE=["image_seq_v4"]), "did you mean 'image_seq_v3'?"),
        (released(CONV_MODE=["image_seq_v3"] * 2), "CONV_MODE has 2 values for 1"),
        (released(TEMPORAL_AGGREGATION="slow_3frms"), "cannot read the plan"),
        (released(ROPE_SCALING_FACTOR=0.5), "rope_scaling_factor"),
        (released(CUDA_VISIBLE_DEVICES="0;rm"), "devices are numbers of GPUs"),
        (released(CONFIG_NAME="../x"), "name names a folder"),
    ],
)
def test_a_wrong_released_file_is_told_in_one_line(text, words):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, name="x")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sets: msvd\nframs: 3", "did you mean 'frames'?"),
        ("sets: mvsd", "did you mean 'msvd'?"),
        ("sets: [msvd, msvd]", "named once"),
        ("sets: []", "at least one question set"),
        ("sets: 3", "a question set is a name"),
        ("sets:\n - set: msvd\n   question: x", "did you mean 'questions'?"),
        ("sets:\n - videos: x", "needs its name"),
        ("model: tiny", "names its question sets"),
        ("sets: msvd\nframes: 1.5", "frames is a whole number"),
        ("sets: msvd\nframes: true", "frames is a whole number"),
        ("sets: msvd\nframes: '3'", "frames is a whole number"),
        ("sets: msvd\nresize: bicubik", "did you mean 'bicubic'?"),
        ("sets: msvd\nplan: papr", "did you mean 'paper'?"),
        ("sets: msvd\nplan: {pathways: []}", "at least one pathway"),
        ("sets: msvd\nplan: 3", "plan is a plan's name"),
        ("sets: msvd\nload_in_8bit: true\nload_in_4bit: true", "not both"),
        ("sets: msvd\nload_in_8bit: 'yes'", "true or false"),
        ("sets: msvd\nname: a/b", "names a folder"),
        ("sets: msvd\nname: ..", "names a folder"),
        ("sets: msvd\nrope_scaling_factor: .nan", "a number of 1 or more"),
        ("sets: msvd\nsets: tgif", "comes twice"),
        ("sets: msvd\n  x: 1", "not readable YAML"),
        ("- a\n- b", "mapping of keys"),
        ("", "mapping of keys"),
        ("sets: msvd\nmodel: [[a]]", "model is a text, not a list"),
        ("? [a]\n: b", "unhashable key"),
        ("? {a: b}\n: c", "not readable YAML"),
        ("&a [*a]", "mapping of keys"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(text, words):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, name="x")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/name:os.system",
        "!!python/object/new:subprocess.Popen [[touch, '{mark}']]",
        "!custom {a: 1}",
    ],
)
def test_yaml_tags_are_refused_and_nothing_runs(value, tmp_path: Path):
    mark = tmp_path / "mark"
    with pytest.raises(ConfigError, match="not readable YAML"):
        parse_config(f"sets: msvd\nmodel: {value.replace('{mark}', str(mark))}", name="x")
    assert not mark.exists()


def test_a_file_of_many_aliases_is_answered_in_a_short_line():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(ConfigError) as caught:
        parse_config("\n".join([*lines, "sets: *a29"]), name="x")
    assert len(str(caught.value)) < 1000


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot read"):
        read(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"sets: msvd # \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(tmp_path / "latin.yaml")
    (tmp_path / "long.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="longer than"):
        read(tmp_path / "long.yaml")


def test_the_name_is_the_file_s_unless_given(tmp_path: Path):
    path = tmp_path / "my run (2).yaml"
    path.write_text("\ufeffsets: toy\n", encoding="utf-8")
    assert read(path).name == "my_run_2_"
    assert default_name(Path(".hidden.yaml")) == "hidden"
    assert default_name(Path("é.yaml")) == "_"


# --- fuzzing ----------------------------------------------------------------------------------

WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\u2028\u2029\x85"),
    min_size=1,
    max_size=30,
).filter(lambda text: bool(text.strip()))


@st.composite
def configs(draw: st.DrawFn) -> RunConfig:
    tasks = tuple(
        Task(
            set=name,
            questions=draw(st.none() | WORDS),
            videos=draw(st.none() | WORDS),
            conv_mode=draw(st.none() | st.sampled_from(sorted(TEMPLATES))),
        )
        for name in draw(st.lists(st.sampled_from(SETS), min_size=1, unique=True))
    )
    names = draw(st.lists(st.sampled_from(["slow", "fast", "extra"]), min_size=1, unique=True))
    plan = Plan(
        pathways=tuple(draw(pathways(name)) for name in names),
        rules=draw(st.sampled_from(["corrected", "released"])),
    )
    quantised = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    alphabet = string.ascii_letters + string.digits + "_"
    return RunConfig(
        name=draw(st.text(alphabet, min_size=1, max_size=40)),
        tasks=tasks,
        model=draw(WORDS),
        plan=draw(st.sampled_from(["paper", "slowfast", str(plan)]) | st.just(plan)),
        rules=draw(st.sampled_from(["corrected", "released", None])),
        frames=draw(st.integers(1, 10_000)),
        decode=draw(st.sampled_from(["exact", "keyframes"])),
        resize=draw(st.sampled_from(["bicubic", "pil", None])),
        max_new_tokens=draw(st.integers(1, 100_000)),
        batch=draw(st.integers(1, 10_000)),
        dtype=draw(st.sampled_from(["float32", "float16", "bfloat16", None])),
        device_map=draw(st.none() | WORDS),
        load_in_8bit=quantised[0],
        load_in_4bit=quantised[1],
        rope_scaling_factor=draw(st.floats(1, 1000)),
        scorer=draw(st.none() | WORDS),
        devices=draw(st.none() | st.lists(st.integers(0, 99), min_size=1).map(_joined)),
        data=draw(WORDS),
        outputs=draw(WORDS),
    )


def _joined(numbers: list[int]) -> str:
    return ",".join(str(number) for number in numbers)


@given(configs())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_parse_print_parse_is_the_identity(config: RunConfig):
    text = print_config(config)
    again = parse_config(text, name="not used")
    assert again == config
    assert print_config(again) == text


def parse_or_error(text: str) -> RunConfig | str:
    """The configuration, or what is wrong; anything but a ConfigError goes through."""
    try:
        return parse_config(text, name="x")
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message
    return message


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
OURS = [field.name for field in fields(RunConfig) if field.name != "tasks"]


@given(st.dictionaries(st.sampled_from([*OURS, "sets"]) | st.text(max_size=8), VALUES, max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_mapping_is_a_configuration_or_a_one_line_error(data):
    config = parse_or_error(yaml.safe_dump(data, allow_unicode=True))
    if isinstance(config, RunConfig):
        assert parse_config(print_config(config), name="y") == config
    else:
        assert len(config) < 2000


@given(st.dictionaries(st.sampled_from(sorted(yaml.safe_load(RELEASED))), VALUES, max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_change_of_the_released_file_is_read_or_a_one_line_error(changes):
    data = yaml.safe_load(RELEASED) | changes
    assert parse_or_error(yaml.safe_dump(data, allow_unicode=True))


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_configuration_or_a_one_line_error(text):
    assert parse_or_error(text)


def test_a_configuration_is_frozen_and_changed_by_replace():
    config = RunConfig(name="a", tasks=(Task(set="toy"),))
    assert replace(config, frames=7).frames == 7
    with pytest.raises(AttributeError):
        config.frames = 7  # type: ignore[misc]
    assert get_set("toy").title == "Toy world"


# --- hostile and old files ------------------------------------------------------------------------


def test_merge_keys_are_refused_before_they_grow():
    bomb = ["a: &a {k0: 1, k1: 2}"]
    last = "a"
    for level in range(12):
        many = ",".join([f"*{last}"] * 9)
        bomb.append(f"m{level}: &m{level} {{<<: [{many}]}}")
        last = f"m{level}"
    with pytest.raises(ConfigError, match=r"merge keys \(<<\) are not read") as caught:
        parse_config("\n".join(bomb), name="x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("repeats", [1, 3000])
def test_a_number_of_base_60_is_a_text(repeats):
    with pytest.raises(ConfigError, match="frames is a whole number") as caught:
        parse_config(f"sets: toy\nframes: 1{':59' * repeats}", name="x")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("-3", -3), ("1.5", 1.5), ("2e3", 2000.0), (".5", 0.5), ("1.", 1.0), ("'7'", "7"),
     ("0x10", "0x10"), ("1_000", "1_000"), ("017", "017"), ("true", True), ("null", None)],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text, value):
    read = load_yaml(f"a: {text}")["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(("old", "rules"), [("true", "corrected"), ("released", "released")])
@pytest.mark.parametrize("quoted", ["{}", "'{}'"])
def test_the_old_name_of_the_rules_is_read_with_a_note(old, rules, quoted):
    with pytest.warns(UserWarning, match=f"write rules: {rules}"):
        config = parse_config(f"sets: toy\ngeometry: {quoted.format(old)}", name="x")
    assert config.rules == rules
    assert config.resolved_plan().rules == rules
    assert "geometry" not in print_config(config)


def test_rules_are_checked():
    with pytest.raises(ConfigError, match="unknown rules 'relesed'; did you mean 'released'"):
        parse_config("sets: toy\nrules: relesed", name="x")


def test_a_text_that_looks_like_a_number_is_printed_as_a_text():
    for name in ("0E0", "1e5", "1:59:59", "0.5"):
        config = parse_config(f"sets: toy\noutputs: '{name}'\n", name="run")
        assert f"outputs: '{name}'" in print_config(config)
