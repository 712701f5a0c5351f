"""The demo model's world: a seeded generator of conversations, for training and for the held-out set.

A problem is held out by the hash of its contents, so the two never meet: `training` skips what `held_out` gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from random import Random

from . import conversation, copying, dates, extraction, facts, lists, memory, numbers, stories, strings, talk, tool_calls
from .conversation import Sample

# What a task is asked by, its share, and the share of it that is answered without thinking.
MAKERS = (
    (numbers.sum_problem, 10, 0.25),
    (numbers.story_problem, 7, 0.0),
    (numbers.unit_problem, 6, 0.15),
    (dates.date_problem, 9, 0.2),
    (lists.sort_problem, 7, 0.2),
    (lists.count_problem, 7, 0.1),
    (strings.string_problem, 12, 0.3),
    (extraction.extraction, 8, 0.4),
    (tool_calls.tool_problem, 10, 0.3),
    (facts.fact_question, 8, 0.5),
    (stories.story, 3, 0.5),
    (copying.copy_problem, 7, 0.5),
    (talk.talk, 2, 0.5),
)
MEMORY = 6  # the share of memory among the same
SEVERAL = 0.25  # of the conversations are two or three problems one after the other


def direct_question(r: Random) -> tuple[str, str]:
    maker = r.choice(
        (facts.fact_question, facts.fact_question, lists.sort_problem, strings.string_problem, numbers.sum_problem, talk.talk)
    )
    sample = maker(r, False)
    if sample.messages[0]["role"] == "system" or conversation.is_held_out(sample.key):
        return direct_question(r)
    return sample.messages[0]["content"], sample.messages[1]["content"]


def problem(r: Random) -> Sample:
    pick = r.random() * (MEMORY + sum(share for _, share, _ in MAKERS))
    for maker, share, direct in MAKERS:
        pick -= share
        if pick < 0:
            return maker(r, r.random() >= direct) if maker is not numbers.story_problem else maker(r)
    return memory.memory_problem(r, r.random() < 0.5, direct_question)


def with_system(r: Random, sample: Sample) -> Sample:
    if sample.messages[0]["role"] != "system" and (system := talk.system_prompt(r)):
        sample.messages.insert(0, {"role": "system", "content": system})
    return sample


def training(seed: int) -> Iterator[Sample]:
    """Conversations without end; none holds a problem that is held out."""
    r = Random(seed)

    def fresh() -> Sample:
        while conversation.is_held_out((sample := problem(r)).key):
            pass
        return sample

    while True:
        sample = fresh()
        if r.random() < SEVERAL and not sample.tools and sample.task != "memory" and sample.messages[0]["role"] != "system":
            for _ in range(r.choice((1, 1, 2))):  # earlier turns; the last problem decides whether there is thinking
                earlier = fresh()
                if (
                    not earlier.tools
                    and earlier.task != "memory"
                    and earlier.messages[0]["role"] != "system"
                    and not earlier.thinking
                ):
                    sample.messages = earlier.messages + sample.messages
        yield with_system(r, sample)


def held_out(seed: int, per_task: int) -> list[Sample]:
    """`per_task` problems of each task, in an order of their own, none twice."""
    r = Random(seed)
    found: dict[str, list[Sample]] = {}
    seen: set[str] = set()
    tries = 0
    while tries < 400_000 and (len(found) < 15 or any(len(v) < per_task for v in found.values())):
        tries += 1
        sample = problem(r)
        if not conversation.is_held_out(sample.key) or sample.key in seen or len(found.setdefault(sample.task, [])) >= per_task:
            continue
        seen.add(sample.key)
        found[sample.task].append(with_system(r, sample))
    samples = [s for task in sorted(found) for s in found[task]]
    return sorted(samples, key=lambda s: hashlib.sha256(s.key.encode()).digest())


def text_of(sample: Sample) -> str:
    return conversation.render(sample.messages, sample.tools)


def prompt_of(sample: Sample) -> str:
    """Everything before the last answer."""
    return conversation.render(sample.messages[:-1], sample.tools, sample.thinking)


def answer_of(sample: Sample) -> str:
    """What comes after </think>, without blanks at the ends."""
    last = sample.messages[-1]
    text = last.get("content") or ""
    return (text + ("\n" + conversation.call_text(last["tool_calls"]) if last.get("tool_calls") else "")).strip()
