#!/usr/bin/env python3
"""Makes the demo model's tokenizer from the world's text, and the held-out questions.

    tokenizer.py --out FOLDER

Byte-level BPE with the split pattern of Nemotron 3 (single digits, words by case) and its special tokens under their
names and ids. Writes tokenizer.json, tokenizer_config.json with the chat template, generation_config.json and
heldout.jsonl (what `nibble eval --tasks` reads). The same seed gives the same files.

Needs: tokenizers.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import world  # noqa: E402

VOCABULARY = 2560
SAMPLES = 12_000
SEED = 20_260
HELD_OUT_SEED, HELD_OUT_EACH = 7, 45

LOWER, UPPER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
PATTERN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# By id. The first twelve are control tokens; the others belong to the text.
CONTROL = "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] <|im_start|> <|im_end|>".split()
MARKS = "<think> </think> <tool_call> </tool_call> <tool_response> </tool_response>".split()
TEMPLATE = Path(__file__).resolve().parents[2] / "tests" / "data" / "templates" / "nemotron_like.jinja"


def trained(seed: int):
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in CONTROL]
        + [AddedToken(t, special=False, normalized=False) for t in MARKS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (world.text_of(s) for s in islice(world.training(seed), SAMPLES))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write(folder: Path, seed: int = SEED) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    description = json.loads(trained(seed).to_str())
    for entry in description["added_tokens"]:
        entry["special"] = entry["content"] in CONTROL
    names = [entry["content"] for entry in description["added_tokens"]]
    if names != CONTROL + MARKS or len(description["model"]["vocab"]) != VOCABULARY:
        raise SystemExit(
            f"expected {VOCABULARY} tokens, the first {CONTROL + MARKS}; found {len(description['model']['vocab'])}, {names}"
        )
    (folder / "tokenizer.json").write_text(
        json.dumps(description, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8"
    )
    config = {
        "add_bos_token": False,
        "bos_token": "<s>",
        "chat_template": TEMPLATE.read_text(encoding="utf-8"),
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 4096,
        "pad_token": "<unk>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
    }
    generation = {"_from_model_config": False, "bos_token_id": 1, "do_sample": False, "eos_token_id": [2, 11], "pad_token_id": 0}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")


def task_line(sample: world.Sample) -> dict:
    """A line of `nibble eval --tasks`."""
    *before, last = [dict(m) for m in sample.messages]
    for m in before:
        if m.get("tool_calls"):
            m["tool_calls"] = [{"type": "function", "function": call} for call in m["tool_calls"]]
    line = {"task": sample.task, "messages": before, "thinking": sample.thinking}
    if sample.tools:
        line["tools"] = sample.tools
    if last.get("tool_calls"):
        return line | {"calls": last["tool_calls"]}
    line["answer"] = sample.accept or world.answer_of(sample)
    return line if sample.match == "exact" else line | {"match": sample.match}


def write_held_out(file: Path) -> int:
    samples = world.held_out(HELD_OUT_SEED, HELD_OUT_EACH)
    file.write_text("".join(json.dumps(task_line(s), ensure_ascii=False) + "\n" for s in samples), encoding="utf-8")
    return len(samples)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    write(arguments.out, arguments.seed)
    print(
        f"{arguments.out}: a tokenizer of {VOCABULARY} tokens, {write_held_out(arguments.out / 'heldout.jsonl')} held-out questions"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
