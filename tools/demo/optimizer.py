"""Optimizer and rounding: Muon for matrices, Adam for the rest, masters in float32, the model's matrices rounded from them.

After every step the model holds its masters in bfloat16, or, near the end of training, what they are in NVFP4. The
gradient passes the rounding as if it were none.
"""

from __future__ import annotations

import torch
from model import Model
from torch import Tensor

E2M1 = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)  # halfway between the values 0 0.5 1 1.5 2 3 4 6
VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def as_nvfp4(w: Tensor) -> Tensor:
    """w [..., N, K], each [N, K] with a scale of its own over E4M3 scales of 16 along K: what modelopt's max-scaling keeps."""
    blocks = w.unflatten(-1, (-1, 16))
    whole = w.abs().amax((-1, -2), keepdim=True)[..., None] / (6 * 448)
    whole = whole.clamp(min=1e-30)
    scale = (blocks.abs().amax(-1, keepdim=True) / 6 / whole).clamp(max=448).to(torch.float8_e4m3fn).float() * whole
    x = blocks / scale.clamp(min=1e-30)
    y = x.abs()
    # Ties go to the even mantissa: upwards at 0.75, 1.75, 3.5 and downwards at the others.
    index = sum(((y >= edge) if i % 2 else (y > edge)).to(torch.int32) for i, edge in enumerate(E2M1))
    values = torch.tensor(VALUES, device=w.device)[index]
    return (torch.copysign(values, x) * scale).flatten(-2).view_as(w)


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """g [..., N, K] with its singular values near 1, by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(torch.bfloat16) if g.is_cuda else g
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x.mT if tall else x


class Optimizer:
    def __init__(self, model: Model, rate: float, decay: float):
        self.model, self.rate, self.decay = model, rate, decay
        self.matrices = model.matrices()
        self.masters = {n: p.detach().float().clone() for n, p in self.matrices.items()}
        self.muon: dict[tuple[torch.Size, bool], list[str]] = {}  # by shape, and whether stored transposed
        for name, p in self.matrices.items():
            if name not in ("embeddings", "lm_head"):
                self.muon.setdefault((p.shape, name.endswith(".down")), []).append(name)
        self.momentum = {
            kind: torch.zeros(len(names), *kind[0], device=self.masters[names[0]].device) for kind, names in self.muon.items()
        }
        small = [p for n, p in model.named_parameters() if n not in self.matrices]
        tables = [self.masters[n] for n in ("embeddings", "lm_head")]
        fused = tables[0].is_cuda
        self.adam = torch.optim.AdamW(
            [{"params": small, "weight_decay": 0.0}, {"params": tables, "weight_decay": 0.01}],
            lr=rate,
            betas=(0.9, 0.98),
            eps=1e-10,
            fused=fused,
        )
        self.quantise = False
        self.write_back()

    def transposed(self, name: str) -> bool:
        return name.endswith(".down")

    @torch.no_grad()
    def write_back(self) -> None:
        """The model's matrices from the masters."""
        current = self.rounded() if self.quantise else self.masters
        torch._foreach_copy_([p.data for p in self.matrices.values()], [current[n] for n in self.matrices])

    def rounded(self) -> dict[str, Tensor]:
        """The masters as `nibble quantize` stores them: q, k and v share their matrix's scale, the embedding stays."""
        found = {"embeddings": self.masters["embeddings"], "lm_head": as_nvfp4(self.masters["lm_head"])}
        for (_, transposed), names in self.muon.items():
            names = [n for n in names if not n.endswith((".q_proj", ".k_proj", ".v_proj"))]
            if names:
                w = torch.stack([self.masters[n] for n in names])
                w = as_nvfp4(w.mT).mT if transposed else as_nvfp4(w)
                found |= zip(names, w.unbind(0), strict=True)
        for q in (n for n in self.masters if n.endswith(".q_proj")):
            names = [q, q.replace(".q_", ".k_"), q.replace(".q_", ".v_")]
            parts = [self.masters[n] for n in names]
            found |= zip(names, as_nvfp4(torch.cat(parts)).split([len(p) for p in parts]), strict=True)
        return found

    @torch.no_grad()
    def step(self, share: float) -> None:
        """One step at `share` of the full rate."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        rate = self.rate * share
        for kind, names in self.muon.items():
            g = torch.stack([self.matrices[n].grad.float() for n in names])
            m = self.momentum[kind].lerp_(g, 0.05)
            update = orthogonal(g.lerp_(m, 0.95)).float()
            scale = 0.2 * max(kind[0][-2:]) ** 0.5
            masters = [self.masters[n] for n in names]
            torch._foreach_mul_(masters, 1 - rate * self.decay)
            torch._foreach_add_(masters, list(update.unbind(0)), alpha=-rate * scale)
        for name in ("embeddings", "lm_head"):
            self.masters[name].grad = self.matrices[name].grad.float()
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
        self.write_back()

    @torch.no_grad()
    def balance(self, loads: list[Tensor], rate: float) -> None:
        """Moves the correction biases towards experts that are asked less than the others."""
        for moe, load in zip(self.model.moe_layers(), loads, strict=True):
            moe.bias += rate * torch.sign(load.mean() - load)
            moe.bias -= moe.bias.mean()
