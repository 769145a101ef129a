"""The language model's tokenizer: sentencepiece itself where a checkpoint has `tokenizer.model`.

Converted ("fast") Llama tokenizers differ from sentencepiece in white space at the end of a piece
and in decoding stray bytes; the prompts of LLaVA are cut at `<image>` just after a space, so parity
needs the original. Other checkpoints get transformers' tokenizer, which has the same methods.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from free_video_llm.errors import CheckpointError, first_line
from free_video_llm.small_files import check_regular, read_json

_SPACE = "\u2581"  # how sentencepiece writes a space
#: Appended to a serialised model it overrides one field: normalizer_spec.add_dummy_prefix = false.
_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"
_SPECIAL_KEYS = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True)
class _Added:
    """A token that is found in text before sentencepiece sees it."""

    content: str
    id: int
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False


@dataclass
class SentencePieceTokenizer:
    """Llama's slow tokenizer: added tokens are cut out, sentencepiece takes the rest.

    Attributes:
        special: added tokens that stand for themselves at the start of a text, without a space.
        legacy: whether each part between added tokens gets a space before it, or the text as a
            whole (transformers #24565). Prompts without added tokens come out alike.
        prefix: whether the text as a whole gets one.
    """

    folder: Path
    add_bos: bool = True
    added: tuple[_Added, ...] = ()
    named: dict[str, str] = field(default_factory=dict)
    special: frozenset[str] = frozenset()
    legacy: bool = True
    prefix: bool = True

    def __post_init__(self) -> None:
        model = self.folder / "tokenizer.model"
        try:
            stored = model.read_bytes()
            self._pieces = _load_pieces(stored)
            self._bare = _load_pieces(stored + _NO_DUMMY_PREFIX)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"cannot read {model} as a sentencepiece model: {first_line(error)}"
            ) from None
        listed = {token.content for token in self.added}
        named = {text for text in self.named.values() if text not in listed}
        implied = [_Added(text, self._pieces.PieceToId(text), special=True) for text in named]
        self.added = (*self.added, *(t for t in implied if t.id != self._pieces.unk_id()))
        self._by_text = {token.content: token for token in self.added}
        self._by_id = {token.id: token for token in self.added}
        ordered = sorted(self._by_text, key=len, reverse=True)
        self._cut = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._unknown = self.named.get("unk_token", "<unk>")

    @classmethod
    def from_folder(cls, folder: Path) -> SentencePieceTokenizer:
        """Read `tokenizer.model` and what the JSON files beside it say of added tokens."""
        config = read_json(folder / "tokenizer_config.json")
        mapped = read_json(folder / "special_tokens_map.json")
        try:
            named = {}
            for key in _SPECIAL_KEYS:
                value = mapped.get(key, config.get(key))
                if value:
                    named[key] = _text_of(value)
            more = mapped.get("additional_special_tokens", config.get("additional_special_tokens"))
            special = frozenset([*named.values(), *(_text_of(value) for value in more or [])])
            added = _added_tokens(config, read_json(folder / "added_tokens.json"), special)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise CheckpointError(
                f"{folder}: the added tokens in tokenizer_config.json or added_tokens.json are "
                "not a table of numbers and tokens"
            ) from None

        def flag(name: str) -> bool:
            value = config.get(name)
            return True if value is None else bool(value)

        return cls(
            folder,
            add_bos=flag("add_bos_token"),
            added=added,
            named=named,
            special=special,
            legacy=flag("legacy"),
            prefix=bool(config.get("add_prefix_space", True)),
        )

    # --- the part of transformers' interface that is used ----------------------------------

    def __len__(self) -> int:
        return max([int(self._pieces.GetPieceSize()), *(t.id + 1 for t in self.added)])

    def _id_of(self, key: str) -> int | None:
        text = self.named.get(key)
        return None if text is None else self.convert_tokens_to_ids(text)

    @property
    def bos_token_id(self) -> int | None:
        number = self._id_of("bos_token")
        return self._pieces.bos_id() if number is None else number

    @property
    def eos_token_id(self) -> int | None:
        number = self._id_of("eos_token")
        return self._pieces.eos_id() if number is None else number

    @property
    def unk_token_id(self) -> int:
        return int(self._pieces.unk_id())

    def convert_tokens_to_ids(self, token: str) -> int:
        """The id of one token, `unk_token_id` where it is none."""
        if token in self._by_text:
            return self._by_text[token].id
        return int(self._pieces.PieceToId(token))

    @property
    def pad_token_id(self) -> int | None:
        return self._id_of("pad_token")

    def __call__(self, text: str) -> dict[str, list[int]]:
        """Token ids of a text, the begin token first."""
        bos = self.bos_token_id
        ids = [bos] if self.add_bos and bos is not None else []
        return {"input_ids": ids + self.encode(text)}

    def encode(self, text: str) -> list[int]:
        """Token ids of a text without begin or end token."""
        if self.legacy:
            return self._encode_parts(self._segments(text), self._pieces.EncodeAsIds)
        if not text:
            return []
        text = (_SPACE if self.prefix else "") + text.replace(_SPACE, " ")
        parts = list(self._segments(text))
        if (
            len(parts) > 1
            and parts[0] == _SPACE
            and getattr(parts[1], "content", "") in self.special
        ):
            del parts[0]
        return self._encode_parts(parts, self._encode_bare)

    def _encode_parts(
        self, parts: Iterable[str | _Added], encode: Callable[[str], list[int]]
    ) -> list[int]:
        ids: list[int] = []
        for part in parts:
            ids += [part.id] if isinstance(part, _Added) else encode(part)
        return ids

    def _encode_bare(self, part: str) -> list[int]:
        """Without a space before it. Sentencepiece drops one at the very start, so another text
        that is cut off again goes before it."""
        if not part.startswith((_SPACE, " ")):
            return list(self._bare.EncodeAsIds(part))
        skip = len(self._bare.EncodeAsIds(self._unknown))
        return list(self._bare.EncodeAsIds(self._unknown + part)[skip:])

    def _segments(self, text: str) -> Iterable[str | _Added]:
        start = 0
        for match in self._cut.finditer(text) if self._cut else ():
            token = self._by_text[match.group()]
            before = text[start : match.start()]
            before = before.rstrip() if token.lstrip else before
            if before:
                yield before
            yield token
            start = match.end()
            while token.rstrip and start < len(text) and text[start].isspace():
                start += 1
        if text[start:]:
            yield text[start:]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of token ids; ids beyond the vocabulary (padded embeddings) give nothing."""
        parts: list[str] = []
        run: list[int] = []
        size = self._pieces.GetPieceSize()
        for number in map(int, ids):
            token = self._by_id.get(number)
            if token is None:
                run += [number] if number < size else []
            elif not (skip_special_tokens and (token.special or token.content in self.special)):
                parts += [self._pieces.DecodeIds(run) if run else "", token.content]
                run = []
        parts.append(self._pieces.DecodeIds(run) if run else "")
        return " ".join(part for part in parts if part)


def _load_pieces(stored: bytes) -> Any:
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor()
    pieces.LoadFromSerializedProto(stored)
    return pieces


def _text_of(value: Any) -> str:
    return str(value["content"]) if isinstance(value, dict) else str(value)


def _added_tokens(
    config: Mapping[str, Any], more: Mapping[str, Any], special: frozenset[str]
) -> tuple[_Added, ...]:
    """What tokenizer_config.json and, in older checkpoints, added_tokens.json list."""
    added = {}
    for number, entry in (config.get("added_tokens_decoder") or {}).items():
        strips = bool(entry.get("lstrip")), bool(entry.get("rstrip"))
        token = _Added(str(entry["content"]), int(number), bool(entry.get("special")), *strips)
        added[token.content] = token
    for text, number in more.items():
        added.setdefault(text, _Added(text, int(number), text in special))
    return tuple(added.values())


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a checkpoint's folder.

    Raises:
        CheckpointError: there is none, or it needs code that we do not run.
    """
    for name in ("tokenizer.model", "tokenizer.json"):
        if (folder / name).exists():
            check_regular(folder / name)
    if (folder / "tokenizer.model").is_file():
        return SentencePieceTokenizer.from_folder(folder)
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(f"{folder} has no tokenizer: tokenizer.model or tokenizer.json")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of several libraries
        raise CheckpointError(
            f"cannot read the tokenizer of {folder}: {first_line(error)}"
        ) from None


def token_id(tokenizer: Any, text: str) -> int | None:
    """The id of a text that is one token of its own, None where it is not."""
    number = tokenizer.convert_tokens_to_ids(text)
    return None if number is None or number == tokenizer.unk_token_id else int(number)
