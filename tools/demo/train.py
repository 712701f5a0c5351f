#!/usr/bin/env python3
"""Trains the demo model: text is generated and encoded by worker processes while one GPU learns from it.

    train.py --data FOLDER --out FOLDER [--minutes N] [--resume FOLDER]

--data is what tokenizer.py wrote. The rate of learning follows the share of the time that is gone: a warm-up, a plateau, a
fall to nothing; in the last part the matrices are rounded to NVFP4 as they will be stored, so that the stored model is the
trained one. Writes the checkpoint as a Hugging Face folder, report.json (accuracy of each task on held-out questions in BF16
and NVFP4), loss.csv and loss.svg. --resume goes on from such a folder with its weights, and warms up again.

Needs: torch, safetensors, tokenizers, numpy.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import answers  # noqa: E402
import checkpoint_files  # noqa: E402
import loss_curve  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import world  # noqa: E402
from feed import Feed  # noqa: E402
from model import TOY, Model, Shape  # noqa: E402
from optimizer import Optimizer  # noqa: E402

HELD_OUT_SEED = 7  # as in tokenizer.py
CLASS_WEIGHTS = (0.0, 0.1, 1.0)  # of padding, of what is read, of what is said
DRAFT_WEIGHT = 0.3
POOL = 1500  # batches that are kept to be seen again when the workers are behind
WARM_UP, FALL = 0.02, 0.35  # shares of the time: the end of the warm-up, the begin of the fall
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def rate_at(share: float, step: int) -> float:
    """Of the full rate, after `share` of the time."""
    warm = min(1.0, (step + 1) / 50, max(share, 1e-3) / WARM_UP)
    return warm * (1.0 if share < FALL else max(0.0, (1 - share) / (1 - FALL)) * 0.99 + 0.01)


class Batches:
    """Batches on the device: fresh ones while the workers keep up, else one of those seen before."""

    def __init__(self, feed: Feed, device: torch.device):
        self.feed, self.device, self.pool, self.fresh, self.again = feed, device, [], 0, 0
        self.weights = torch.tensor(CLASS_WEIGHTS, device=device)

    def next(self):
        batch = self.feed.take(wait=len(self.pool) < 8)
        if batch is None:
            self.again += 1
            held = random.choice(self.pool)
        else:
            self.fresh += 1
            held = torch.from_numpy(batch.astype(np.int16)).to(self.device)  # no token and no segment is above 32767
            if len(self.pool) < POOL:
                self.pool.append(held)
            else:
                self.pool[random.randrange(POOL)] = held
        tokens, segments, classes = held.long()
        return tokens, segments.int(), self.weights[classes]


@torch.no_grad()
def held_out_loss(model: Model, folder: Path, samples, device) -> float:
    """Nats a token of what the assistant says."""
    from feed import LENGTH, SAID, Encoder

    encoder = Encoder(folder)
    total, count = 0.0, 0
    encoded = [np.array(ids) for ids in encoder.encode([world.text_of(s) for s in samples]) if len(ids) <= LENGTH]
    for at in range(0, len(encoded), 32):
        part = encoded[at : at + 32]
        tokens = torch.zeros(len(part), LENGTH, dtype=torch.long)
        segments = torch.zeros(len(part), LENGTH, dtype=torch.int)
        said = torch.zeros(len(part), LENGTH, dtype=torch.bool)
        for row, ids in enumerate(part):
            n = len(ids)
            tokens[row, :n], segments[row, :n], said[row, :n] = (
                torch.from_numpy(ids),
                1,
                torch.from_numpy(encoder.classes(ids) == SAID),
            )
        logits = model(tokens.to(device), segments.to(device)).float()
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten().to(device), reduction="none"
        )
        mask = said[:, 1:].flatten().to(device)
        total, count = total + float(loss[mask].sum()), count + int(mask.sum())
    return total / count


def train(arguments, model: Model, device: torch.device, feed: Feed, out: Path, begun: float) -> Optimizer:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    optimizer = Optimizer(model.cast(dtype), arguments.rate, arguments.decay)
    if device.type == "cuda" and not arguments.eager:
        model.compile_layers()
    data = Batches(feed, device)
    curve = (out / "loss.csv").open("w", encoding="utf-8")
    curve.write("seconds,tokens,rate,loss,answer_loss,draft_answer_loss\n")
    sums = torch.zeros(4, device=device)
    end, started, said, since, step, tokens = begun + 60 * arguments.minutes, time.monotonic(), time.monotonic(), 0, 0, 0
    least_loads = torch.zeros((), device=device)
    while (now := time.monotonic()) < end and (not arguments.steps or step < arguments.steps):
        share = (now - started) / max(end - started, 1e-9) if not arguments.steps else step / arguments.steps
        if not optimizer.quantise and share >= arguments.quantise_from:
            optimizer.quantise = True
            optimizer.write_back()
            print(f"{now - begun:6.1f} s: matrices are rounded to NVFP4 from here on", flush=True)
        batch = data.next()
        loss, draft, answer, draft_answer, loads = model.train_losses(*batch)
        (loss + DRAFT_WEIGHT * draft).backward()
        rate = rate_at(share, step)
        optimizer.step(rate)
        optimizer.balance(loads, arguments.balance * rate)
        with torch.no_grad():
            sums += torch.stack([loss.detach(), answer, draft_answer, torch.ones_like(answer)])
            least_loads = torch.stack(loads).min()
        step, since, tokens = step + 1, since + 1, tokens + batch[0].numel()
        if step in (1, 2) or time.monotonic() - said > 5:
            mean = (sums[:3] / sums[3]).tolist()  # waits for the device
            took = time.monotonic() - said
            speed = since * batch[0].numel() / took
            elapsed = time.monotonic() - begun
            print(
                f"{elapsed:6.1f} s  step {step:5}  {tokens / 1e6:6.1f} M tokens  {speed / 1e3:6.0f} k/s  rate {rate:.3f}  loss {mean[0]:.4f}"
                f"  answers {mean[1]:.4f}  draft {mean[2]:.4f}  least load {float(least_loads):.3f}  seen again {data.again / (data.again + data.fresh):.0%}",
                flush=True,
            )
            curve.write(f"{elapsed:.1f},{tokens},{rate:.4f},{mean[0]:.5f},{mean[1]:.5f},{mean[2]:.5f}\n")
            curve.flush()
            if not math.isfinite(mean[0]):
                raise SystemExit("the loss is no number")
            sums.zero_()
            said, since = time.monotonic(), 0
    curve.close()
    print(
        f"{time.monotonic() - begun:6.1f} s: {step} steps, {tokens / 1e6:.1f} M tokens, {data.fresh} batches of new text, {data.again} seen again",
        flush=True,
    )
    return optimizer


def judged(name: str, model: Model, arguments, samples, device) -> dict:
    model.functions = Model(TOY).functions  # as they are, not compiled: the shapes are others
    found = answers.report(model, arguments.data, samples, device)
    found["loss"] = held_out_loss(model, arguments.data, samples, device)
    print(
        f"{name}: {found['accuracy']:.1%} of {len(samples)} held-out answers are right, {found['loss']:.4f} nats a token, {found['draft_acceptance']:.1%} of {found['drafts']} drafts accepted ({found['seconds']:.0f} s)"
    )
    for task, (good, asked) in found["tasks"].items():
        print(f"    {task:14} {good:3} of {asked:3}  {good / asked:.0%}")
    return found


def main() -> int:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the tokenizer")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the checkpoint into")
    parser.add_argument("--minutes", type=float, default=8.5, help="until training ends, from the start of the program")
    parser.add_argument("--steps", type=int, default=0, help="end after so many steps instead")
    parser.add_argument("--resume", type=Path, help="a folder that this program wrote: go on from its weights")
    parser.add_argument("--rows", type=int, default=64, help="of 1024 tokens, in a batch")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--balance", type=float, default=2e-3, help="step of the experts' correction biases")
    parser.add_argument("--quantise-from", type=float, default=0.75, help="share of the time after which matrices are rounded")
    parser.add_argument("--questions", type=int, default=45, help="held-out questions of each task")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--toy", action="store_true", help="a tiny model, to try the program")
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    arguments = parser.parse_args()

    if (
        arguments.resume
        and (arguments.resume / "tokenizer.json").read_bytes() != (arguments.data / "tokenizer.json").read_bytes()
    ):
        parser.error(f"{arguments.resume} was trained with another tokenizer than {arguments.data} has")
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    feed = Feed(arguments.data, arguments.seed, arguments.rows, arguments.workers)
    try:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = checkpoint_files.read(arguments.resume) if arguments.resume else Model(TOY if arguments.toy else Shape())
        model = model.to(device)
        print(
            f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters on {device}, {arguments.workers} workers",
            flush=True,
        )
        optimizer = train(arguments, model, device, feed, arguments.out, begun)
    finally:
        feed.close()

    for file in TOKENIZER_FILES:
        shutil.copyfile(arguments.data / file, arguments.out / file)
    checkpoint_files.write(arguments.out, model, optimizer.masters)
    loss_curve.draw(arguments.out / "loss.csv", arguments.out / "loss.svg")
    print(f"{time.monotonic() - begun:6.1f} s: {arguments.out} is written", flush=True)

    if not arguments.questions:
        return 0
    samples = world.held_out(HELD_OUT_SEED, arguments.questions)
    stored = checkpoint_files.read(arguments.out).to(device)
    kept = Optimizer(stored, 0.0, 0.0)
    stored.cast(model.lm_head.dtype)
    report = {"bf16": judged("BF16", stored, arguments, samples, device)}
    kept.quantise = True
    kept.write_back()
    report["nvfp4"] = judged("NVFP4", stored, arguments, samples, device)
    report["arguments"] = {k: str(v) for k, v in vars(arguments).items()}
    (arguments.out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(f"{time.monotonic() - begun:6.1f} s: done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
