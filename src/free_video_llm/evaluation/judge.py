"""Judges a run's answers by a language model behind an OpenAI-compatible server.

Every reply is kept by the content of its question before it is used, so nothing is paid for twice
and a killed call goes on where it was. What the judge is told is `protocol.py`'s.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.jsonl import LineWriter, read_lines, write_whole
from free_video_llm.evaluation.judge_server import Judge, request_reply
from free_video_llm.evaluation.protocol import Verdict, protocol_hash, read_verdict
from free_video_llm.evaluation.row import Row
from free_video_llm.evaluation.run_dir import RunFolder
from free_video_llm.openai_client import check_url, open_client, reason_of

#: So many failures of the server in a row, and the rest is left for another time.
MOST_FAILURES_IN_A_ROW = 20
#: For the estimate before: characters of English a token, tokens of a verdict.
_CHARACTERS_PER_TOKEN = 4.0
_VERDICT_TOKENS = 16


@dataclass
class _Known:
    """What is known of one question to the judge."""

    attempts: int = 0
    verdict: Verdict | None = None
    problem: str = ""
    models: set[str] = field(default_factory=set)


@dataclass
class Tally:
    """Counts of a judging. Of the answered rows: judged + judge_failed + not_judged.

    `reasons` are why rows have no verdict, the commonest first, each with how many rows.
    """

    rows: int = 0
    judged: int = 0
    judge_failed: int = 0
    not_judged: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    stopped: str | None = None
    reasons: tuple[tuple[str, int], ...] = ()
    models: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What a judging will take at most, roughly: requests, tokens, dollars."""

    rows: int
    requests: int
    tokens_in: int
    tokens_out: int
    cost: float | None


class Judging:
    """The judging of one run by one judge; a context manager that holds the replies' file.

    Args:
        run: the run's folder.
        judge: who judges.
        replies: the folder of the kept replies.

    Raises:
        ConfigError: the run is multiple choice, the server's address is none, or another process
            uses the replies' file.
    """

    def __init__(self, run: RunFolder, judge: Judge, replies: str | Path) -> None:
        check_url(judge.url)
        self.run = run
        self.judge = judge
        self.rows = [row for row in run.rows() if row.answer is not None]
        if any(row.question.options for row in self.rows):
            raise ConfigError("multiple choice is scored by letter and needs no judge: fvl report")
        self.keys = [judge.key(row) for row in self.rows]
        self.replies_file = Path(replies) / f"{judge.slug}.jsonl"
        self._known: dict[str, _Known] = {key: _Known() for key in self.keys}

    def __enter__(self) -> Judging:
        self._writer = LineWriter(self.replies_file)
        try:
            for number, reply in enumerate(read_lines(self.replies_file), start=1):
                self._check_reply(reply, number)
                if reply["key"] in self._known:
                    self._learn(reply)
        except BaseException:
            self._writer.close()
            raise
        return self

    def _check_reply(self, reply: dict[str, Any], number: int) -> None:
        """Raise ConfigError for a kept reply that is not whole: nothing is guessed of it."""
        whole = (
            isinstance(reply.get("key"), str)
            and isinstance(reply.get("text"), str)
            and isinstance(reply.get("attempt"), int)
            and reply["attempt"] >= 1
        )
        if not whole:
            raise ConfigError(
                f"{self.replies_file}: line {number} is no kept reply (it needs key, attempt and "
                "text): delete that line"
            )

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def _learn(self, reply: dict[str, Any]) -> None:
        known = self._known[reply["key"]]
        known.attempts = max(known.attempts, int(reply["attempt"]))
        verdict = read_verdict(str(reply["text"]))
        if isinstance(verdict, Verdict):
            known.verdict = known.verdict or verdict
        else:
            known.problem = verdict
        if reply.get("model"):
            known.models.add(str(reply["model"]))

    def open_keys(self) -> dict[str, Row]:
        """What the judge has still to be asked: each content once."""
        return {
            key: row
            for key, row in zip(self.keys, self.rows, strict=True)
            if self._known[key].verdict is None and self._known[key].attempts < self.judge.attempts
        }

    def estimate(self) -> Estimate:
        """What asking the rest takes, if every reply is good at once."""
        still = self.open_keys()
        characters = sum(
            len(message["content"])
            for row in still.values()
            for message in self.judge.request(row)["messages"]
        )
        tokens_in = round(characters / _CHARACTERS_PER_TOKEN)
        tokens_out = _VERDICT_TOKENS * len(still)
        cost = self.judge.cost(tokens_in, tokens_out)
        return Estimate(len(self.rows), len(still), tokens_in, tokens_out, cost)

    # --- asking -----------------------------------------------------------------------------

    def ask_all(self, progress: Callable[[int, int], None] | None = None) -> Tally:
        """Ask for every verdict that is not known, and write the run's judgements.

        Raises:
            ConfigError: the server refuses the key or does not know the model.
            MissingExtraError: the `judge` extra is not installed.
        """
        start = time.perf_counter()
        tally = Tally()
        still = self.open_keys()
        try:
            if still:
                asyncio.run(self._ask_keys(still, tally, progress))
        finally:
            tally.seconds = time.perf_counter() - start
            self._write(tally)
        return tally

    async def _ask_keys(
        self,
        still: dict[str, Row],
        tally: Tally,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        waiting = iter(still.items())
        counts = {"done": 0, "failures": 0}
        judge = self.judge
        client = open_client(
            judge.url,
            timeout_seconds=judge.timeout_seconds,
            retries=judge.retries,
            what="judging",
            extra="judge",
        )
        async with client:
            workers = [
                asyncio.create_task(
                    self._work(client, waiting, tally, counts, len(still), progress)
                )
                for _ in range(min(self.judge.concurrency, len(still)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(
        self,
        client: Any,
        waiting: Iterator[tuple[str, Row]],
        tally: Tally,
        counts: dict[str, int],
        total: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        for key, row in waiting:
            if tally.stopped:
                return
            answered = await self._ask_key(client, key, row, tally)
            counts["failures"] = 0 if answered else counts["failures"] + 1
            if counts["failures"] >= MOST_FAILURES_IN_A_ROW and not tally.stopped:
                tally.stopped = (
                    f"the server failed {counts['failures']} times in a row "
                    f"({self._known[key].problem}): the rest is left, run the same command later"
                )
            counts["done"] += 1
            if progress is not None:
                progress(counts["done"], total)

    async def _ask_key(self, client: Any, key: str, row: Row, tally: Tally) -> bool:
        """Ask until a reply is good or the attempts are used up; False where the server failed."""
        known = self._known[key]
        while known.verdict is None and known.attempts < self.judge.attempts:
            attempt = known.attempts + 1
            try:
                reply = await request_reply(client, self.judge, row, attempt)
            except ConfigError:
                raise
            except Exception as error:
                known.problem = reason_of(error)
                return False
            tally.requests += 1
            tally.tokens_in += reply["usage"]["in"]
            tally.tokens_out += reply["usage"]["out"]
            self._writer.append([{"key": key, "attempt": attempt, **reply}])
            self._learn({"key": key, "attempt": attempt, **reply})
        return True

    # --- writing ----------------------------------------------------------------------------

    def _write(self, tally: Tally) -> None:
        """The run's judgements, from the replies: one line for each answered row."""
        judgements = [
            self._judgement(row, key) for row, key in zip(self.rows, self.keys, strict=True)
        ]
        counts = Counter(judgement["status"] for judgement in judgements)
        tally.rows = len(self.rows)
        tally.judged = counts["judged"]
        tally.judge_failed = counts["judge-failed"]
        tally.not_judged = counts["not judged"]
        reasons = Counter(j["reason"] for j in judgements if "reason" in j)
        tally.reasons = tuple(reasons.most_common(3))
        tally.models = tuple(sorted({m for known in self._known.values() for m in known.models}))
        lines = (json.dumps(judgement, ensure_ascii=False) + "\n" for judgement in judgements)
        path = self.run.path / f"judge-{self.judge.slug}.jsonl"
        write_whole(path, "".join(lines))
        about = {
            "schema": 1,
            "judge": self.judge.model,
            "server": self.judge.url,
            "exact_models": list(tally.models),
            "protocol": protocol_hash(),
            **self.judge.parameters(),
            "attempts": self.judge.attempts,
            "reply_format": self.judge.reply_format,
            "rows": tally.rows,
            "judged": tally.judged,
            "judge_failed": tally.judge_failed,
            "not_judged": tally.not_judged,
        }
        write_whole(path.with_suffix(".json"), json.dumps(about, indent=1) + "\n")

    def _judgement(self, row: Row, key: str) -> dict[str, Any]:
        known, (number, video, question) = self._known[key], row.identity
        part: dict[str, Any] = {"row": number, "video": video, "question": question}
        part |= {"key": key, "attempts": known.attempts}
        if known.verdict is not None:
            said = "yes" if known.verdict.yes else "no"
            return part | {"status": "judged", "pred": said, "score": known.verdict.score}
        if known.attempts >= self.judge.attempts:
            return part | {"status": "judge-failed", "reason": known.problem}
        return part | {"status": "not judged", "reason": known.problem or "not asked yet"}
