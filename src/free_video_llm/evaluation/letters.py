"""Reads which option a reply to a multiple-choice question chooses, however it is wrapped.

The reply is cleaned (markup, brackets and widths of any script), cut into words, and each single
letter among them is judged by the words around it: declared ("the answer is B", "B is correct"),
denied ("not B", "B is wrong"), one of several ("A and C"), an article ("A man"), or nothing. The
last declared letter wins. Pure functions of texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from free_video_llm.evaluation.normalise import normalise

#: A reply that goes on for longer is read at its beginning and at its end.
_MOST_CHARACTERS = 8000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split(" "))


#: Words that say that the letter behind them is chosen: what it is called, and what leads to it.
_NAMES = _words("answer option choice letter solution response correct best")
_LEADS = _words(
    "select selected selection choose chose chosen pick picked think believe guess say conclude "
    "conclusion it's its it that's therefore thus hence so final going go boxed"
)
#: The same in other languages: parts of words, as some are written without spaces.
_LEAD_PARTS = (
    "答案", "选", "選", "正解", "答え", "回答", "정답", "답", "antwort", "réponse", "reponse",
    "respuesta", "risposta", "resposta", "ответ", "cevap", "jawaban", "odpowied", "antwoord",
)  # fmt: skip
#: Words and signs that may stand between such a word and the letter.
_BETWEEN = _words(
    "is are was be being been would should must could may might can will likely probably clearly "
    "definitely certainly obviously most the that this my your as to with for here appropriate "
    "ist est es è é sera lautet : = - – — → > ( , |"
)
_DENIALS = _words(
    "not isn't never neither nor except excluding rather than instead wrong incorrect wasn't "
    "cannot can't couldn't eliminate"
)
_PRAISE = _words("correct right best better answer true accurate matches fits")
_JOINTS = _words("and or & / + , ;")
_FILLERS = _words("option options answer choice maybe possibly perhaps also even either")
_VERBS = _words("is was are were seems appears looks would")
_SIGNS = _words("( ) . : - , ! ? – — → = |")
#: What may follow the letters A and I where they are no article and no pronoun.
_AFTER_WORD_LETTER = _VERBS | _SIGNS | _words("and or because since as but not for due ; / & +")
#: What a reply, a line or a clause ends with.
_ENDS = (_SIGNS - {"("}) | {";", "\n", ""}

_TOKEN = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?|[^\W\d_A-Za-z]+|\d+|\n|[^\s\w]")
_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?\s*([A-Za-z][\w -]{0,30})\s*/?>")
_COMMAND = re.compile(r"\\([A-Za-z]+)\s*\{([^{}]{0,200})\}")
#: Letters in black circles and squares, which Unicode does not decompose.
_EMOJI_LETTERS = {
    first + place: chr(ord("A") + place)
    for first in (0x1F150, 0x1F170, 0x1F1E6)
    for place in range(26)
}


@dataclass(frozen=True)
class _Letter:
    """A single letter of a reply that may be a choice.

    Attributes:
        place: the token's number.
        letter: upper case.
        declared: whether the words around it say that it is chosen.
        several: whether it stands beside another letter ("A and C").
    """

    place: int
    letter: str
    declared: bool
    several: bool


def read_letter(prediction: str, options: Sequence[str]) -> str | None:
    """The letter that a reply chooses, None where it cannot be told.

    A reply that is one option's text, or begins with it, chooses that option. Several letters at
    once choose none, nor does a letter behind the last option.

    Args:
        prediction: the reply.
        options: the options' texts, the first is A.

    Examples:
        >>> read_letter("Not A. The final answer is **(B)**.", ["a cat", "a dog"])
        'B'
        >>> read_letter("a dog", ["a cat", "a dog"])
        'B'
        >>> read_letter("A and B", ["a cat", "a dog"]) is None
        True
    """
    text = _clean(prediction)
    by_text = _whole_text(text, options)
    if by_text is not None:
        return by_text
    tokens = [m.group() for m in _TOKEN.finditer(text)]
    letters = _letters(text, tokens, options)
    chosen = _choose(tokens, letters)
    if chosen is None and not letters:
        return _begun_text(text, options)
    if chosen is None or chosen.several or ord(chosen.letter) - ord("A") >= len(options):
        return None
    return chosen.letter


def _choose(tokens: Sequence[str], letters: Sequence[_Letter]) -> _Letter | None:
    listed = _listed(tokens, letters)
    letters = [letter for letter in letters if letter not in listed]
    declared = [letter for letter in letters if letter.declared]
    if declared:
        return declared[-1]
    alone = [letter for letter in letters if _is_line(tokens, letter.place)]
    if alone:
        return alone[-1] if len({letter.letter for letter in alone}) == 1 else None
    first = _first_word(tokens)
    at_start = [letter for letter in letters if letter.place == first]
    if at_start:
        return at_start[0]
    bracketed = [letter for letter in letters if _in_brackets(tokens, letter.place)]
    if len({letter.letter for letter in bracketed}) == 1:
        return bracketed[-1]
    if letters and not bracketed and all(t in _ENDS for t in tokens[letters[-1].place + 1 :]):
        same = {letter.letter for letter in letters}
        return letters[-1] if len(same) == 1 else None
    return None


# --- cleaning ----------------------------------------------------------------------------------


def _clean(text: str) -> str:
    """One alphabet, one kind of bracket, no markup."""
    if len(text) > _MOST_CHARACTERS:
        half = _MOST_CHARACTERS // 2
        text = f"{text[:half]}\n{text[-half:]}"
    text = _THOUGHTS.sub("\n", text)
    _, closed, tail = text.rpartition("</think>")
    text = unicodedata.normalize("NFKC", (tail if closed else text).translate(_EMOJI_LETTERS))
    text = "".join(_plain(c) for c in text if unicodedata.category(c) not in ("Cf", "Mn"))
    text = re.sub(r"<\s*([A-Za-z])\s*>", r"(\1)", text)
    text = _TAG.sub(lambda m: f" {m[1]}: " if m[1].lower() in _NAMES else " ", text)
    for _ in range(4):  # commands inside of commands
        text, found = _COMMAND.subn(lambda m: f" {m[1] if m[1] == 'boxed' else ''} {m[2]} ", text)
        if not found:
            break
    return re.sub(r"(?<![A-Za-z])'|'(?![A-Za-z])", " ", re.sub(r"[*`\"#$~\\]|_{1,3}", " ", text))


def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Ps":
        return "("
    if kind == "Pe":
        return ")"
    if character in "“”„«»‹›":
        return " "
    return "'" if character in "‘’ʼ" else character


# --- letters -----------------------------------------------------------------------------------


def _letters(text: str, tokens: Sequence[str], options: Sequence[str]) -> list[_Letter]:
    starts = [m.start() for m in _TOKEN.finditer(text)]
    places = [
        place
        for place, token in enumerate(tokens)
        if len(token) == 1
        and token.isascii()
        and token.isalpha()
        and not _is_part(text, starts[place])
        and _may_choose(tokens, place, options)
    ]
    found = []
    for place in places:
        cue, denied = _before(tokens, place)
        praised, faulted = _behind(tokens, place)
        if denied or faulted:
            continue
        several = _has_neighbour(tokens, place, places)
        found.append(_Letter(place, tokens[place].upper(), cue or praised, several))
    return found


def _is_part(text: str, at: int) -> bool:
    """Whether a letter is part of a longer word: X-ray, vitamin-C, U.S."""
    before, after = text[max(0, at - 2) : at], text[at + 1 : at + 3]
    hyphened = re.match(r"[-'][A-Za-z]", after) or re.search(r"[A-Za-z][-']$", before)
    abbreviated = re.match(r"\.[A-Z]", after) or re.search(r"[A-Z]\.$", before)
    return bool(hyphened or abbreviated)


def _may_choose(tokens: Sequence[str], place: int, options: Sequence[str]) -> bool:
    token, after = tokens[place], _next(tokens, place)
    if _in_brackets(tokens, place):
        return True
    if token.islower():
        if after not in _ENDS:
            return False
        whole = place == _first_word(tokens) and (
            after in (")", ".", ":") or _is_line(tokens, place)
        )
        return whole or _before(tokens, place)[0]
    another = len(after) == 1 and after.isupper()
    follows = another or after in _AFTER_WORD_LETTER or after in _ENDS
    if token in "AI" and not follows:
        return _text_follows(tokens, place, options)
    return True


def _text_follows(tokens: Sequence[str], place: int, options: Sequence[str]) -> bool:
    """Whether the letter's own option stands behind it, as in "A a red ball"."""
    index = ord(tokens[place]) - ord("A")
    wanted = normalise(options[index]) if index < len(options) else ()
    said = normalise(" ".join(tokens[place + 1 : place + 40]))
    repeated = tokens[place + 1 : place + 2] in (["a"], ["an"], ["the"])
    return bool(wanted) and repeated and said[: len(wanted)] == wanted


def _before(tokens: Sequence[str], place: int) -> tuple[bool, bool]:
    """Whether the words before a letter declare it, and whether they deny it."""
    named = led = False
    for step in range(place - 1, max(-1, place - 9), -1):
        word = tokens[step].lower()
        if word in _DENIALS:
            return led, not led  # "A is wrong, so C" denies A alone
        if word in _NAMES:
            named = True
        elif word in _LEADS or any(part in word for part in _LEAD_PARTS):
            led = True
        elif word == "\n":
            if not step or tokens[step - 1] not in (":", "\n"):
                break
        elif word not in _BETWEEN:
            break
    return named or led, False


def _behind(tokens: Sequence[str], place: int) -> tuple[bool, bool]:
    """Whether the words behind a letter praise it ("B is correct"), and whether they fault it."""
    rest = [t.lower() for t in tokens[place + 1 : place + 9] if t != ")"]
    if not rest or rest[0] not in _VERBS:
        return False, False
    for word in rest[1:]:
        if word in _DENIALS:
            return False, True
        if word in _PRAISE:
            return True, False
        if word in ".,;\n":
            break
    return False, False


def _has_neighbour(tokens: Sequence[str], place: int, places: Sequence[int]) -> bool:
    """Whether another letter is joined to this one: "A and C", "A, B", "A/B"."""
    return any(
        other != place
        and tokens[other].upper() != tokens[place].upper()
        and _are_joined(tokens, min(place, other), max(place, other))
        for other in places
    )


def _are_joined(tokens: Sequence[str], first: int, second: int) -> bool:
    said = re.sub(r"\([^()]*\)", " ", " ".join(tokens[first + 1 : second]).lower())
    between = [t for t in said.split() if t not in "()"]
    joints = [t for t in between if t not in _FILLERS]
    if not joints:
        return second == first + 1  # "A B"
    return len(joints) <= 2 and all(t in _JOINTS for t in joints)


def _next(tokens: Sequence[str], place: int) -> str:
    return tokens[place + 1] if place + 1 < len(tokens) else ""


def _first_word(tokens: Sequence[str]) -> int:
    """The place of the first token that is no bracket, dash or blank line."""
    return next((i for i, t in enumerate(tokens) if t not in ("(", "-", "\n", ":", ">", "•")), -1)


def _in_brackets(tokens: Sequence[str], place: int) -> bool:
    return place > 0 and tokens[place - 1] == "(" and _next(tokens, place) == ")"


def _is_line(tokens: Sequence[str], place: int) -> bool:
    """Whether a letter is all that its line says."""
    left, right = place - 1, place + 1
    while left >= 0 and tokens[left] in _SIGNS:
        left -= 1
    while right < len(tokens) and tokens[right] in _SIGNS:
        right += 1
    begins = left < 0 or tokens[left] == "\n"
    return begins and (right == len(tokens) or tokens[right] == "\n")


def _listed(tokens: Sequence[str], letters: Sequence[_Letter]) -> list[_Letter]:
    """The letters with which a reply repeats the options: lines that begin with A, B and so on."""
    begun = [letter for letter in letters if _begins_line(tokens, letter.place)]
    repeats = [letter.letter for letter in begun[:2]] == ["A", "B"]
    return begun if repeats else []


def _begins_line(tokens: Sequence[str], place: int) -> bool:
    left = place - 1
    while left >= 0 and (tokens[left] in "(-•" or tokens[left].lower() == "option"):
        left -= 1
    return left < 0 or tokens[left] == "\n"


# --- texts -------------------------------------------------------------------------------------


def _whole_text(text: str, options: Sequence[str]) -> str | None:
    given = normalise(text)
    same = [i for i, o in enumerate(options) if (words := normalise(o)) and words == given]
    return _letter_of(same[0]) if len(same) == 1 else None


_SAYS = re.compile(
    r"(?:answer|option|choice)(?:\s+(?:is|would be|must be))?\s*[:=]?\s+", re.IGNORECASE
)


def _begun_text(text: str, options: Sequence[str]) -> str | None:
    """The one option with whose text the reply, or what follows "the answer is", begins."""
    texts = [normalise(option) for option in options]
    rests = [text, *(text[m.end() :] for m in list(_SAYS.finditer(text))[-1:])]
    for rest in rests:
        given = normalise(rest)
        begun = [i for i, words in enumerate(texts) if words and given[: len(words)] == words]
        if len(begun) == 1:
            return _letter_of(begun[0])
    return None


def _letter_of(index: int) -> str:
    return chr(ord("A") + index)
