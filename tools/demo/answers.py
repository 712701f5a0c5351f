"""Greedy answers to the held-out questions, all at once, one token of every row a step; and how often the draft is right."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
import world
from feed import Encoder
from model import Model

LIMIT = 480  # tokens of an answer


@torch.no_grad()
def answered(model: Model, prompts: list[list[int]], ends: list[int], limit: int, device) -> tuple[list[list[int]], int, int]:
    """Tokens of each answer without its end; drafts that were right; drafts."""
    count, longest = len(prompts), max(map(len, prompts))
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    tokens = torch.zeros(count, longest + limit, dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt, device=device)
    caches, draft_cache = [{} for _ in model.layers], {}
    done = torch.zeros(count, dtype=torch.bool, device=device)
    stop = torch.tensor(ends, device=device)
    draft, right, drafts = None, torch.zeros((), device=device), torch.zeros((), device=device)
    for t in range(longest + limit - 1):
        hidden = model.step(tokens[:, t], caches)
        following = F.linear(hidden, model.lm_head).argmax(-1)
        generating = (t + 1 >= lengths) & ~done & (t + 1 < lengths + limit)
        if draft is not None:  # made of what came before: it speaks of the token that is being chosen
            counts = generating & (t + 1 > lengths)
            right += (counts & (draft == following)).sum()
            drafts += counts.sum()
        tokens[:, t + 1] = torch.where(generating, following, tokens[:, t + 1])
        done |= generating & torch.isin(following, stop)
        draft = F.linear(model.draft_step(tokens[:, t + 1], hidden, draft_cache), model.lm_head).argmax(-1)
        if t % 32 == 0 and bool((done | (t + 1 >= lengths + limit)).all()):
            break
    rows = tokens.cpu()
    answers = []
    for row, prompt in enumerate(prompts):
        said = rows[row, len(prompt) : len(prompt) + limit].tolist()
        cut = next((i for i, token in enumerate(said) if token in ends), len(said))
        answers.append(said[:cut])
    return answers, int(right), int(drafts)


def is_right(sample: world.Sample, text: str) -> bool:
    content = text.split("</think>")[-1].strip() if sample.thinking else text.strip()
    if sample.match == "contains":
        return sample.accept in content
    return content == world.answer_of(sample)


def report(model: Model, folder: Path, samples: list[world.Sample], device) -> dict:
    """Accuracy overall and of each task, the draft's acceptance, wrong answers."""
    begun = time.monotonic()
    encoder = Encoder(folder)
    prompts = encoder.encode([world.prompt_of(s) for s in samples])
    answers, right, drafts = answered(model, prompts, [2, encoder.end], LIMIT, device)
    asked, good, wrong = Counter(), Counter(), []
    for sample, tokens in zip(samples, answers, strict=True):
        text = encoder.tokenizer.decode(tokens, skip_special_tokens=False)
        asked[sample.task] += 1
        if is_right(sample, text):
            good[sample.task] += 1
        else:
            wrong.append(
                {
                    "task": sample.task,
                    "asked": sample.messages[-2]["content"][-300:],
                    "expected": world.answer_of(sample)[-300:],
                    "said": text[-400:],
                }
            )
    return {
        "accuracy": sum(good.values()) / len(samples),
        "tasks": {task: [good[task], asked[task]] for task in sorted(asked)},
        "draft_acceptance": right / max(drafts, 1),
        "drafts": drafts,
        "answer_tokens": sum(map(len, answers)),
        "seconds": time.monotonic() - begun,
        "wrong": wrong,
    }
