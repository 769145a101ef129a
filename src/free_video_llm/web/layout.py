"""The page's parts and how they are put together; what they do is in `handlers.py`."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from free_video_llm import samples
from free_video_llm.plans.presets import PRESETS
from free_video_llm.video.read import read_frames
from free_video_llm.web import handlers as acts
from free_video_llm.web import markup
from free_video_llm.web.handlers import SUGGESTIONS, Handlers
from free_video_llm.web.kept_frames import data_uri
from free_video_llm.web.limits import MOST_PLANS, length, megabytes
from free_video_llm.web.service import Service

#: Compared unless the visitor chooses others.
COMPARED = ("paper", "slowfast", "uniform")
#: Seconds between two looks at the line, as Gradio itself takes on Windows: with its 1 ms elsewhere
#: a page that nobody uses costs 3.6 % of a core.
_QUEUE_SLEEP = 0.05
#: Everything that runs a model waits in one line, one at a time.
ONE_AT_A_TIME = {"concurrency_id": "model", "concurrency_limit": 1}


def build_page(service: Service, *, plan: str, frames: int, arrival: bool = True) -> gr.Blocks:
    """The page of a service, beginning with this plan and number of frames, and, with `arrival`, an
    example that is answered."""
    acting, models, limits = Handlers(service), service.models, service.limits
    page = gr.Blocks(title="Free Video-LLM", analytics_enabled=False)
    with page:
        gr.HTML(_HEADER)
        with gr.Row(elem_id="fvl-main"):
            with gr.Column(scale=5, min_width=300, elem_id="fvl-form"):
                clip = gr.Video(label="Video", sources=["upload", "webcam"], elem_id="fvl-clip")
                clip.example_payload = clip.example_value = _nothing  # an address outside
                with gr.Row(elem_id="fvl-address-row", visible=limits.fetches):
                    address = gr.Textbox(
                        label="Or an address", placeholder="the address of a clip", lines=1,
                        max_lines=1, max_length=2000, scale=5, min_width=160,
                        elem_id="fvl-address",
                    )  # fmt: skip
                    fetch = gr.Button("Fetch", scale=1, min_width=80, elem_id="fvl-fetch")
                facts = gr.HTML("", elem_id="fvl-facts")
                gr.HTML('<p class="fvl-label">Examples</p>')
                with gr.Row(elem_id="fvl-samples"):
                    examples = [
                        (name, gr.Button(name, elem_id=f"fvl-sample-{name}", size="sm"))
                        for name in samples.all_samples()
                    ]
                question = gr.Textbox(
                    label="Question", placeholder="What color is the star?", lines=1, max_lines=4,
                    max_length=limits.question_letters, elem_id="fvl-question",
                )  # fmt: skip
                with gr.Row(elem_id="fvl-chips"):
                    chips = [gr.Button("", visible=False, size="sm") for _ in range(SUGGESTIONS)]
                ask = gr.Button("Ask", variant="primary", elem_id="fvl-ask")
                with gr.Row(elem_id="fvl-choices"):
                    model = gr.Dropdown(
                        list(models.offered), value=models.first, label="Model", min_width=140,
                        filterable=False, elem_id="fvl-model",
                    )  # fmt: skip
                    plan_box = gr.Dropdown(
                        list(PRESETS), value=plan, label="Plan", allow_custom_value=True,
                        min_width=140, elem_id="fvl-plan",
                    )  # fmt: skip
                plan_line = gr.HTML(
                    acting.plan_facts(plan, frames, models.first), elem_id="fvl-plan-facts"
                )
                with gr.Accordion("Stretch, frames and choices", open=False, elem_id="fvl-more"):
                    with gr.Row(elem_id="fvl-stretch"):
                        start = gr.Textbox(
                            label="From", placeholder="0:00", max_lines=1, max_length=20,
                            min_width=100, elem_id="fvl-start",
                        )  # fmt: skip
                        end = gr.Textbox(
                            label="To", placeholder="the end", max_lines=1, max_length=20,
                            min_width=100, elem_id="fvl-end",
                        )  # fmt: skip
                    count = gr.Slider(
                        1, limits.frames, value=frames, step=1, label="Frames sampled of the clip",
                        elem_id="fvl-frames",
                    )  # fmt: skip
                    options = gr.Textbox(
                        label="Choices, one on each line (for a multiple-choice question)",
                        lines=3, max_lines=8, elem_id="fvl-options",
                    )  # fmt: skip
            with gr.Column(scale=8, min_width=300, elem_id="fvl-answers"):
                notice = gr.HTML(markup.notice(models.first), elem_id="fvl-notice")
                status = gr.HTML("", elem_id="fvl-status")
                result = gr.HTML(markup.EMPTY, elem_id="fvl-result")
                talk = gr.HTML("", elem_id="fvl-talk")
                with gr.Row(elem_id="fvl-follow-row"):
                    more = gr.Textbox(
                        label="Follow up", placeholder="And where is it?", lines=1, max_lines=4,
                        max_length=limits.question_letters, scale=6, min_width=160,
                        elem_id="fvl-follow",
                    )  # fmt: skip
                    send = gr.Button("Send", scale=1, min_width=80, elem_id="fvl-send")
                    stop = gr.Button("Stop", scale=1, min_width=80, elem_id="fvl-stop")
                follow_status = gr.HTML("", elem_id="fvl-follow-status")
                with gr.Accordion("Compare plans side by side", open=False, elem_id="fvl-compare"):
                    plans = gr.CheckboxGroup(
                        list(PRESETS), value=list(COMPARED), elem_id="fvl-plans",
                        label=f"Plans for the same question (2 to {MOST_PLANS})",
                    )  # fmt: skip
                    compare = gr.Button("Compare", elem_id="fvl-compare-button")
                    compare_status = gr.HTML("", elem_id="fvl-compare-status")
                    comparison = gr.HTML("", elem_id="fvl-comparison")
        gr.HTML(_footer(service))
        remembered = gr.State(models.first)

        form = [clip, question, options, model]
        wait: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private"}
        quick: dict[str, Any] = {
            "show_progress": "hidden", "api_visibility": "private", "queue": False,
        }  # fmt: skip
        clip.change(acting.choose, clip, [facts, status, result, comparison, talk, *chips], **quick)
        gr.on(
            [fetch.click, address.submit], acting.fetch, address, [clip, status],
            show_progress_on=status, trigger_mode="once", concurrency_limit=2, **wait,
        )  # fmt: skip
        for name, button in examples:
            button.click(functools.partial(acts.sample_path, name), None, clip, **quick)
        for chip in chips:
            chip.click(None, chip, question, js="(text) => text")
        gr.on(
            [ask.click, question.submit], acting.ask, [*form, plan_box, count, start, end],
            [status, result, talk], show_progress_on=status, trigger_mode="once", **wait,
            **ONE_AT_A_TIME,
        )  # fmt: skip
        gr.on(
            [send.click, more.submit], acting.follow, more, [follow_status, talk, more],
            show_progress_on=follow_status, trigger_mode="once", **wait, **ONE_AT_A_TIME,
        )  # fmt: skip
        stop.click(acting.stop, None, None, **quick)
        compare.click(
            acting.compare, [*form, plans, count, start, end], [compare_status, comparison],
            show_progress_on=compare_status, trigger_mode="once", **wait, **ONE_AT_A_TIME,
        )  # fmt: skip
        switched = model.input(
            acting.switch, [model, remembered], [status, notice, model, remembered],
            show_progress_on=status, **wait, **ONE_AT_A_TIME,
        )  # fmt: skip
        facts_of = (acting.plan_facts, [plan_box, count, model], plan_line)
        switched.then(*facts_of, **quick)
        plan_box.change(*facts_of, **quick)
        count.release(*facts_of, **quick)
        page.unload(acting.leave)
        if arrival:
            page.load(
                acting.arrive, [model, plan_box, count], [clip, question, result],
                show_progress="hidden", api_visibility="private", **ONE_AT_A_TIME,
            )  # fmt: skip
    page.queue(max_size=limits.queue, default_concurrency_limit=8, api_open=False)
    page._queue.sleep_when_free = _QUEUE_SLEEP
    return page


def _nothing() -> None:
    """No example of a value."""


def theme() -> gr.Theme:
    """Gradio's plainest theme in the pictures' colours, light and dark (`page.css` has the same for
    what is ours), with fonts that every machine has."""
    return gr.themes.Base(
        primary_hue="slate",
        neutral_hue="slate",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_background_fill="#f5f7f9",
        body_text_color="#1b1f24",
        body_text_color_subdued="#59636e",
        block_border_color="#d5dbe1",
        block_label_text_color="#1b1f24",
        block_title_text_color="#1b1f24",
        input_border_color="#8b949e",
        button_primary_background_fill="#0b5394",
        button_primary_background_fill_hover="#083e6e",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#e9eef3",
        button_secondary_border_color="#8b949e",
        body_background_fill_dark="#0f1318",
        body_text_color_dark="#e6eaef",
        body_text_color_subdued_dark="#a3adb8",
        block_background_fill_dark="#171c22",
        block_border_color_dark="#343c46",
        block_label_background_fill_dark="#171c22",
        block_label_text_color_dark="#e6eaef",
        block_title_text_color_dark="#e6eaef",
        border_color_primary_dark="#343c46",
        input_background_fill_dark="#0f1318",
        input_border_color_dark="#6b7683",
        input_placeholder_color_dark="#98a3af",
        button_primary_background_fill_dark="#1f6fb8",
        button_primary_background_fill_hover_dark="#2a80cd",
        button_primary_text_color_dark="#ffffff",
        button_secondary_background_fill_dark="#171c22",
        button_secondary_background_fill_hover_dark="#263442",
        button_secondary_text_color_dark="#e6eaef",
        button_secondary_border_color_dark="#6b7683",
        checkbox_label_background_fill_dark="#171c22",
        checkbox_label_text_color_dark="#e6eaef",
    )


def style() -> str:
    """The page's CSS, with a frame of each example as its button's picture."""
    return _asset("page.css") + "".join(
        f"#fvl-sample-{name}{{background-image:{_SHADE},url({_frame_uri(sample)})}}"
        for name, sample in samples.all_samples().items()
    )


#: Below, a name must be read on it.
_SHADE = "linear-gradient(transparent 50%,rgba(0,0,0,.8))"


def head() -> str:
    """The page's script, which moves the player."""
    return f"<script>{_asset('page.js')}</script>"


def _asset(name: str) -> str:
    return resources.files("free_video_llm.web").joinpath(name).read_text(encoding="utf-8")


def _frame_uri(sample: samples.Sample) -> str:
    frames = read_frames(sample.path, count=5, size=96)
    image = Image.fromarray(frames.pixels[2])
    return data_uri(np.asarray(image.resize((128, 96))))


_HEADER = (
    '<header class="fvl-header"><h1>Free Video-LLM</h1><p>Ask a video a question, and see which '
    "frames and regions the answer rests on.</p></header>"
    '<div id="fvl-live" class="fvl-unseen" role="status" aria-live="polite"></div>'
)


def _footer(service: Service) -> str:
    limits = service.limits
    return (
        f'<p class="fvl-footer">Clips of up to {megabytes(limits.file_bytes)} and '
        f"{length(limits.clip_seconds)}. A clip is kept on this server while its page is open, at "
        f"most {length(limits.idle_seconds)} after it was last used, and deleted then. Nothing of "
        "it is sent anywhere, but to the server behind a model that has one.</p>"
    )
