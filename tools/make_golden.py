#!/usr/bin/env python3
"""Makes tests/golden: tiny checkpoints in every format that nibble reads, and what transformers computes from them.

Each folder is a published checkpoint in small: config.json, the quantisation config of its dialect, safetensors (one of
them in shards), tokenizer, generation config; and golden.json, the expected log-probabilities and greedy continuations
(tools/golden/expected.py says how they come about). rotary.json has the frequencies of every kind of rotary scaling. The
same seed gives the same files.

Needs: numpy, torch, transformers, tokenizers, safetensors (tools/requirements-slow.txt).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent))
from golden import cases, expected, rotary, tokenizer, weights  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

MARGIN = 0.15  # of every greedy token over the second, in log-probability
GREEDY = 32
LENGTHS = (7, 16, 17, 40, 130, 300)  # tokens a prompt: around a page (16) and across chunks of the scan (128)
BATCH, ATTEMPTS = 8, 50  # prompts tried at once, and how often, for one whose continuation has the margin


def write_tensors(folder: Path, tensors: dict[str, torch.Tensor], shards: int):
    tensors = {name: t.contiguous() for name, t in tensors.items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())}, "weight_map": {}}
    for i in range(shards):
        part = names[i * len(names) // shards : (i + 1) * len(names) // shards]
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        index["weight_map"] |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


def candidates(encoder, generator: np.random.Generator, length: int) -> list[str]:
    """Texts of `length` tokens."""
    texts = []
    while len(texts) < BATCH:
        order = generator.permutation(len(tokenizer.SENTENCES))
        tokens = encoder.encode("\n".join(tokenizer.SENTENCES[i] for i in order), add_special_tokens=False).ids
        start = int(generator.integers(0, len(tokens) - length))
        text = encoder.decode(tokens[start : start + length], skip_special_tokens=False)
        # A cut may fall within a character, or where the text alone would be cut otherwise.
        if "\ufffd" not in text and len(encoder.encode(text, add_special_tokens=False).ids) == length:
            texts.append(text)
    return texts


def make_prompts(model, encoder, random: weights.Random) -> list[dict]:
    prompts = []
    for length in LENGTHS:
        generator = random.generator(f"prompt {length}")
        for _ in range(ATTEMPTS):
            texts = candidates(encoder, generator, length)
            tokens = [encoder.encode(text, add_special_tokens=False).ids for text in texts]
            guesses = expected.guess(model, tokens, GREEDY)
            chosen = [expected.greedy(model, t, g, MARGIN) for t, g in zip(tokens, guesses)]
            if any(chosen):
                index = next(i for i, c in enumerate(chosen) if c)
                described = expected.describe(model, tokens[index])
                prompts.append({"text": texts[index], "tokens": tokens[index], **described, "greedy": chosen[index]})
                break
        else:
            raise SystemExit(f"no prompt of {length} tokens has a continuation with margins of {MARGIN}: try another --seed")
    return prompts


def make(case: cases.Case, out: Path, seed: int):
    folder = out / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    random = weights.Random(seed)
    encoder = tokenizer.write(folder)
    for file, content in case.files.items():
        (folder / file).write_text(json.dumps(content, indent=1) + "\n")

    tensors, values = {}, {}
    matrices = case.weights(random)
    for name, w in matrices.items():
        stored, values[name] = case.store(name, w, matrices)
        module = name.removesuffix(".weight")
        tensors |= {module + suffix if suffix.startswith(".") else suffix: t for suffix, t in stored.items()}
    scales = {name: random.uniform(name, 1, low=0.01, high=0.03)[0] for name in case.cache_scales}
    write_tensors(folder, tensors | scales, case.shards)

    model = expected.load(folder, values)
    golden = {"seed": seed, "margin": MARGIN, "prompts": make_prompts(model, encoder, random)}
    if any(name.startswith("mtp.") for name in values):
        block = expected.load_draft(folder, values)
        golden["draft"] = [
            expected.describe_draft(model, block, p["tokens"] + [g["token"] for g in p["greedy"]]) for p in golden["prompts"]
        ]
    if case.fp8_cache:
        module_scales = {n.replace("backbone.", "model.").rsplit(".", 1)[0]: float(v) for n, v in scales.items()}
        hooks = expected.cache_as_fp8(model, module_scales)
        golden["fp8_cache"] = [expected.describe(model, p["tokens"])["logprobs"] for p in golden["prompts"]]
        for hook in hooks:
            hook.remove()
    (folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    margins = [g["margin"] for p in golden["prompts"] for g in p["greedy"]]
    print(f"{case.name}: {len(tensors)} tensors, {size / 1e3:.0f} kB, least margin {min(margins):.3f}", flush=True)
    return size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "golden", help="folder of the folders")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this checkpoint; may be repeated")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order
    known = {case.name for case in cases.ALL}
    if unknown := set(arguments.only) - known:
        parser.error(f"no checkpoint {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    total = sum(make(case, arguments.out, arguments.seed) for case in cases.ALL if not arguments.only or case.name in arguments.only)
    if not arguments.only:
        (arguments.out / "rotary.json").write_text(json.dumps(rotary.expected(), indent=1) + "\n")
    print(f"{total / 1e6:.2f} MB in all")


if __name__ == "__main__":
    main()
