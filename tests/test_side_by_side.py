"""Two things at a time, each with its share of the cores, and all cores given back."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from free_video_llm.side_by_side import side_by_side


@pytest.fixture(autouse=True, params=[2, 5])
def cores(request) -> int:
    """So many threads for PyTorch, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


def test_several_threads_that_do_it_leave_all_cores_to_each_other(cores: int):
    def often() -> None:
        for _ in range(20):
            side_by_side(lambda _: torch.ones(8, 8) @ torch.ones(8, 8), range(4))

    threads = [threading.Thread(target=often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.get_num_threads() == threads_of_a_new_thread() == cores


def test_two_are_done_at_a_time_with_half_of_the_cores_each(cores: int):
    both = threading.Barrier(2)  # broken unless two wait at it at the same time
    shares = []

    def do(thing: int) -> None:
        both.wait(timeout=20)
        shares.append((thing, torch.get_num_threads(), torch.is_inference_mode_enabled()))

    side_by_side(do, range(6))
    assert sorted(shares) == [(thing, cores // 2, True) for thing in range(6)]
    assert torch.get_num_threads() == threads_of_a_new_thread() == cores


def test_an_odd_one_is_done_first_with_all_cores(cores: int):
    done = []
    side_by_side(lambda thing: done.append((thing, torch.get_num_threads())), "abc")
    assert done[0] == ("a", cores)
    assert sorted(done[1:]) == [("b", cores // 2), ("c", cores // 2)]
    done.clear()
    side_by_side(lambda thing: done.append((thing, torch.get_num_threads())), "a")
    assert done == [("a", cores)]
    side_by_side(pytest.fail, [])


def test_one_core_does_one_thing_after_the_other(cores: int):
    torch.set_num_threads(1)
    done = []
    side_by_side(lambda thing: done.append((thing, threading.current_thread())), range(4))
    assert done == [(thing, threading.main_thread()) for thing in range(4)]


def test_an_error_ends_the_rest_and_gives_the_cores_back(cores: int):
    begun = []

    def do(thing: int) -> None:
        begun.append(thing)
        time.sleep(0.01)
        raise ValueError(f"no {thing}")

    with pytest.raises(ValueError, match="no 0"):
        side_by_side(do, range(400))
    assert len(begun) < 400
    assert torch.get_num_threads() == threads_of_a_new_thread() == cores
