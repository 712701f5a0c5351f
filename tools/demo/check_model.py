#!/usr/bin/env python3
"""Compares the demo model with transformers' nemotron_h on random weights: logits, and the step-by-step form with both.

    check_model.py --data FOLDER     (what tokenizer.py wrote)

Exits 1 when a logit differs by more than 1e-4 in float32. Needs: torch, transformers, safetensors.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import checkpoint_files  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from model import TOY, Model, Shape, rms  # noqa: E402
from optimizer import as_nvfp4  # noqa: E402

LIMIT = 1e-4


@torch.no_grad()
def differences(model: Model, data: Path) -> dict[str, float]:
    from transformers import AutoModelForCausalLM

    tokens = torch.randint(20, model.s.vocabulary, (2, 192))
    ours = model(tokens, torch.ones_like(tokens, dtype=torch.int))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            shutil.copyfile(data / file, folder / file)
        checkpoint_files.write(folder, model, dtype=torch.float32)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(tokens).logits
        again = checkpoint_files.read(folder)
    found = {"transformers": float((ours - theirs).abs().max())}
    found["read again"] = float((again(tokens, torch.ones_like(tokens, dtype=torch.int)) - ours).abs().max())
    caches, draft_cache, steps, drafts = [{} for _ in model.layers], {}, [], []
    for t in range(64):
        hidden = model.step(tokens[:, t], caches)
        steps.append(F.linear(hidden, model.lm_head))
        drafts.append(model.draft_step(tokens[:, t + 1], hidden, draft_cache))
    found["token by token"] = float((torch.stack(steps, 1) - ours[:, :64]).abs().max())
    x, mask, _ = model.hidden(tokens, torch.ones_like(tokens, dtype=torch.int))
    whole = rms(model.drafted(tokens, rms(x, model.norm_f), mask)[0], model.draft_norm)
    found["draft token by token"] = float((torch.stack(drafts, 1) - whole[:, :64]).abs().max())
    # Packed: two conversations in a row are what each is alone.
    segments = torch.ones_like(tokens, dtype=torch.int)
    segments[:, 77:] = 2
    alone = torch.cat(
        [
            model(tokens[:, :64], segments[:, :64]),
            model(F.pad(tokens[:, 77:], (0, 13)), F.pad(segments[:, 77:], (0, 13)))[:, :115],
        ],
        1,
    )
    together = model(tokens, segments)
    found["packed"] = float((torch.cat([together[:, :64], together[:, 77:]], 1) - alone).abs().max())
    w = torch.randn(3, 64, 128)
    found["rounding twice"] = float((as_nvfp4(as_nvfp4(w)) - as_nvfp4(w)).abs().max())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--full", action="store_true", help="the real shape instead of a tiny one")
    arguments = parser.parse_args()
    torch.manual_seed(1)
    model = Model(Shape() if arguments.full else TOY)
    for moe in model.moe_layers():
        moe.bias.uniform_(-0.05, 0.05)
        moe.gate.data.mul_(30)
    found = differences(model, arguments.data)
    for name, difference in found.items():
        print(f"{name:22} {difference:.2e}")
    return int(max(found.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
