"""Does two things at a time, each with half of PyTorch's threads.

Where an operation is divided between cores, all wait for the slowest at its end; two things that
each have cores of their own wait for nothing. PyTorch lets go of Python's lock while it computes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
#: Threads, and so things done at a time.
AT_ONCE = 2
#: Held while threads take their share: any thread that first asks then would have as few.
_starting = threading.Lock()


def side_by_side(do: Callable[[T], object], things: Sequence[T]) -> None:
    """Call `do` with each thing, two at a time, in inference mode.

    What remains of a number that does not divide is done first, with all cores.

    Raises:
        whatever `do` raises; what has not begun by then is left undone.
    """
    with _starting:
        cores = torch.get_num_threads()
    alone = len(things) % AT_ONCE if cores >= AT_ONCE else len(things)
    for thing in things[:alone]:
        do(thing)
    if alone == len(things):
        return
    ready = threading.Barrier(AT_ONCE + 1, timeout=60)

    def take_share() -> None:
        torch.get_num_threads()  # else the first operation would set it, over what is set here
        torch.set_num_threads(cores // AT_ONCE)
        ready.wait()

    @torch.inference_mode()
    def in_thread(thing: T) -> None:
        do(thing)

    pool = ThreadPoolExecutor(AT_ONCE, initializer=take_share)
    try:
        with _starting:
            jobs = [pool.submit(in_thread, thing) for thing in things[alone:]]
            ready.wait()
            torch.set_num_threads(cores)
        for job in jobs:
            job.result()
    finally:
        pool.shutdown(cancel_futures=True)
