"""Replies to multiple choice as language models write them: the letter that each chooses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from free_video_llm.evaluation.letters import read_letter

BALLS = ["a red ball", "a blue ball", "a green ball", "a yellow ball"]
ACTS = ["walking", "running", "sitting on a couch", "dancing", "sleeping"]

#: Wrappers, widths and scripts; declarations; the last one wins; several are none; articles.
OF_BALLS = [
    ("B", "B"),
    ("b", "B"),
    ("(B)", "B"),
    ("B.", "B"),
    ("B) a blue ball", "B"),
    ("b) a blue ball", "B"),
    ("Answer: B", "B"),
    ("answer: b", "B"),
    ("The answer is b.", "B"),
    ("Option B", "B"),
    ("option b", "B"),
    ("**B. a blue ball**", "B"),
    ("__B__", "B"),
    ("B\n\nThe ball is blue.", "B"),
    ("Ⓑ", "B"),
    ("🅑", "B"),
    ("🅱", "B"),
    ("Ｂ", "B"),
    ("（B）", "B"),
    ("【B】", "B"),
    ("「B」", "B"),
    ("〔Ｂ〕", "B"),
    ("答案是B", "B"),
    ("答案：B", "B"),
    ("选B", "B"),
    ("正解はBです", "B"),
    ("정답은 B 입니다", "B"),
    ("Die Antwort ist B.", "B"),
    ("La réponse est B.", "B"),
    ("La respuesta correcta es (B).", "B"),
    ("Ответ: B", "B"),
    ("\\boxed{B}", "B"),
    ("$\\boxed{\\text{B}}$", "B"),
    ("The final answer is $\\boxed{C}$", "C"),
    ("<answer>C</answer>", "C"),
    ("<answer> (C) a green ball </answer>", "C"),
    ("<think>A is the one. answer: A</think>C", "C"),
    ("<think>hm B</think>\n<answer>C</answer>", "C"),
    ("A... no wait, the final answer is C", "C"),
    ("Answer: A\nFinal answer: C", "C"),
    ("At first I thought the answer is A. But the correct answer is D.", "D"),
    ("A and C", None),
    ("A, C", None),
    ("A or B", None),
    ("A/B", None),
    ("A & B", None),
    ("Both A and C are correct", None),
    ("The answer is A and C.", None),
    ("(A) and (B)", None),
    ("A B", None),
    ("Options A and D", None),
    ("The answer is not A but B.", "B"),
    ("It is not A, so it must be C.", "C"),
    ("A is wrong. B is correct.", "B"),
    ("B is the correct answer because A is incorrect.", "B"),
    ("Option (D) is correct.", "D"),
    ("D is the best answer", "D"),
    ("A man picks it up", None),
    ("A", "A"),
    ("A.", "A"),
    ("A a red ball", "A"),
    ("A: a red ball", "A"),
    ("a red ball", "A"),
    ("A red ball", "A"),
    ("The answer is a blue ball.", "B"),
    ("a blue ball", "B"),
    ("A blue ball.", "B"),
    ("I think the answer is D", "D"),
    ("I", None),
    ("I would choose B.", "B"),
    ("I'd go with C", "C"),
    ("I'm going with option C.", "C"),
    ("E", None),
    ("Answer: E", None),
    ("Answer: (Z)", None),
    ("", None),
    ("yes", None),
    ("The person does a U-turn", None),
    ("It is an X-ray", None),
    ("Based on the frames, B.", "B"),
    ("Best option: (B", "B"),
    ("B because the ball is blue", "B"),
    ("C - a green ball", "C"),
    ("C: a green ball", "C"),
    ("C, a green ball", "C"),
    ("[[C]]", "C"),
    ("{C}", "C"),
    ("<C>", "C"),
    ("'C'", "C"),
    ("“C”", "C"),
    ("C!", "C"),
    ("### Answer\nC", "C"),
    ("Answer:\nC", "C"),
    ("**Answer:** C", "C"),
    ("The correct option is: C", "C"),
    ("The correct choice would be C.", "C"),
    ("My final choice: C", "C"),
    ("So, the answer should be C.", "C"),
    ("Therefore, C.", "C"),
    ("Thus, the answer is **C**: a green ball.", "C"),
    ("Explanation: the ball is green. Answer - C", "C"),
    ("A. a red ball\nB. a blue ball\nC. a green ball\nD. a yellow ball\nAnswer: C", "C"),
    ("The options are A, B, C and D. I choose D.", "D"),
    ("Among A, B, C, D, the best is B.", "B"),
    ("Could be A or B, but B is better.", "B"),
    ("Answer: B. A is wrong since it is red.", "B"),
    ("B. Options A, C and D do not match.", "B"),
    ("The letter is D", "D"),
    ("Selected option: D", "D"),
    ("Answer=D", "D"),
    ("Answer - (D)", "D"),
    ("Answer → D", "D"),
    ("The answer is 'D'.", "D"),
    ("the answer is (d).", "D"),
    ("(d)", "D"),
    ("d.", "D"),
    ("D\n", "D"),
    ("  D  ", "D"),
    ("D)", "D"),
    ("The ball is blue.\n\nB", "B"),
    ("In the video, the ball is blue, so the answer is B", "B"),
    ("None of the above", None),
    ("I cannot tell.", None),
    ("A or maybe B", None),
]
#: With five options, whose last letter is a word of its own in none of them.
OF_ACTS = [
    ("E", "E"),
    ("Best option: (E) sleeping", "E"),
    ("(C) sitting on a couch", "C"),
    ("sitting on a couch", "C"),
    ("The person is running.", None),
    ("Answer: running", "B"),
    ("The correct answer is E. sleeping", "E"),
    ("The correct answer is **(D) dancing**.", "D"),
    ("Looking at the frames:\n1. A man walks\n2. He sits\n\nThe correct answer is (C).", "C"),
    ("A man is walking, so the answer is A", "A"),
    ("A man is walking.", None),
    ("Between A and B, I choose A.", "A"),
    ("The answer is **E**.\n\nExplanation: A, B, C, D are not supported.", "E"),
    ("C\nD", None),
    ("Answer: C, D", None),
    ("I would say it's option C, not option D.", "C"),
    ("Not enough information", None),
    ("Option A: walking\nOption B: running\nOption C: sitting on a couch", None),
    ("Option C: sitting on a couch", "C"),
    ("Final Answer: \\[ \\boxed{E} \\]", "E"),
    ("Final Answer:\n\n**E**", "E"),
    ("The answer is: E) sleeping", "E"),
    ("Choice: b", "B"),
    ("My answer: c)", "C"),
    ("ANSWER: D", "D"),
    ("Answer is D", "D"),
    ("answer d", "D"),
    ("D is right, since he dances.", "D"),
    ("It's D.", "D"),
    ("It’s D.", "D"),
    ("I believe the answer is (E)", "E"),
    ("I pick (A) because he walks", "A"),
    ("Probably C", "C"),
    ("C?", "C"),
    ("C (sitting on a couch)", "C"),
    ("C; sitting", "C"),
    ("The best choice is letter C.", "C"),
    ("Answer: A (walking) or B (running)", None),
    ("assistant: C", "C"),
    ("Assistant: The answer is C.", "C"),
    ('{"answer": "C"}', "C"),
    ('{"answer": "C", "reason": "A is not shown"}', "C"),
    ("answer: 'C'", "C"),
    ("```\nC\n```", "C"),
    ('```json\n{"answer": "C"}\n```', "C"),
    ("> C", "C"),
    ("- C", "C"),
    ("1. C", "C"),
    ("Option: C.", "C"),
    ("Correct: C", "C"),
    ("C is the correct option", "C"),
    ("The most appropriate answer is C", "C"),
    ("The answer is therefore C", "C"),
    ("The answer must be C", "C"),
    ("After review, C is the answer.", "C"),
    ("I'd say A, but the correct answer is C", "C"),
    ("A is incorrect, B is incorrect, so C", "C"),
    ("None", None),
    ("Neither A nor B", None),
    ("All of A, B, C", None),
]


@pytest.mark.parametrize(("reply", "letter"), OF_BALLS)
def test_four_options(reply, letter):
    assert read_letter(reply, BALLS) == letter


@pytest.mark.parametrize(("reply", "letter"), OF_ACTS)
def test_five_options(reply, letter):
    assert read_letter(reply, ACTS) == letter


@pytest.mark.parametrize(
    ("opening", "closing"), ["()", "[]", "{}", "【】", "「」", "（）", "〔〕", "《》", "『』"]
)
@pytest.mark.parametrize("letter", "ABCD")
def test_brackets_of_any_script(opening, closing, letter):
    assert read_letter(f"The answer is {opening}{letter}{closing}", BALLS) == letter
    assert read_letter(f"{opening}{letter}{closing} is correct", BALLS) == letter


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=300))
def test_any_text_has_one_letter_or_none(text):
    assert read_letter(text, BALLS) in (None, "A", "B", "C", "D")


def test_a_long_reply_is_read_at_both_ends():
    reasons = "The ball rolls over the table. " * 2000
    assert read_letter(f"{reasons}\nThe answer is C.", BALLS) == "C"
    assert read_letter(f"C. {reasons}", BALLS) == "C"
