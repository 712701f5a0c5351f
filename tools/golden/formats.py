"""How published checkpoints store a matrix: each function returns the tensors to write and the values they stand for.

Rounding is to nearest, ties to even, in float32 throughout, as the producers of the formats do it (modelopt's max scaling,
llm-compressor's tensor_group strategy).
"""

from __future__ import annotations

import torch

E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
# The middle between two codes goes to the even one, so it belongs to the lower code where that is even.
MIDDLES = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
E4M3_MAX = 448.0
GROUP = 16

Stored = tuple[dict[str, torch.Tensor], torch.Tensor]  # suffix -> tensor, values in float32


def e4m3(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)


def e2m1_codes(x: torch.Tensor) -> torch.Tensor:
    magnitude = x.abs()
    code = torch.zeros_like(x, dtype=torch.uint8)
    for i, middle in enumerate(MIDDLES):
        above = magnitude >= middle if i % 2 else magnitude > middle
        code += above.to(torch.uint8)
    return code | (torch.signbit(x).to(torch.uint8) << 3)


def e2m1_values(code: torch.Tensor) -> torch.Tensor:
    value = E2M1[(code & 7).long()]
    return torch.where(code & 8 != 0, -value, value)


def pack(codes: torch.Tensor) -> torch.Tensor:
    return codes[:, 0::2] | (codes[:, 1::2] << 4)


def plain(w: torch.Tensor, dtype: torch.dtype) -> Stored:
    stored = w.to(dtype)
    return {".weight": stored}, stored.float()


def modelopt_fp8(w: torch.Tensor) -> Stored:
    scale = w.abs().max() / E4M3_MAX
    codes = e4m3(w / scale)
    tensors = {".weight": codes, ".weight_scale": scale, ".input_scale": torch.tensor(4.0 / E4M3_MAX)}
    return tensors, codes.float() * scale


def channel_fp8(w: torch.Tensor) -> Stored:
    """compressed-tensors float-quantized, strategy channel."""
    scale = w.abs().amax(dim=1, keepdim=True) / E4M3_MAX
    codes = e4m3(w / scale)
    return {".weight": codes, ".weight_scale": scale}, codes.float() * scale


def modelopt_nvfp4(w: torch.Tensor, amax: torch.Tensor | None = None, input_scale: bool = True) -> Stored:
    """amax: of all matrices that are run as one (q, k, v or gate, up), which share their global scale."""
    n, k = w.shape
    scale = (w.abs().max() if amax is None else amax) / (6 * E4M3_MAX)
    blocks = w.reshape(n, k // GROUP, GROUP)
    block_scale = blocks.abs().amax(dim=2) / (6 * scale)
    block_scale = torch.where(block_scale == 0, torch.ones_like(block_scale), block_scale)
    block_scale = e4m3(block_scale.clamp(2.0**-9, E4M3_MAX))
    step = (block_scale.float() * scale)[:, :, None]
    codes = e2m1_codes(blocks / step)
    tensors = {".weight": pack(codes.reshape(n, k)), ".weight_scale": block_scale, ".weight_scale_2": scale}
    if input_scale:
        tensors[".input_scale"] = torch.tensor(8.0 / (6 * E4M3_MAX))
    return tensors, (e2m1_values(codes) * step).reshape(n, k)


def compressed_nvfp4(w: torch.Tensor, amax: torch.Tensor | None = None) -> Stored:
    """compressed-tensors nvfp4-pack-quantized: the global scale divides."""
    n, k = w.shape
    scale = (6 * E4M3_MAX) / (w.abs().max() if amax is None else amax)
    blocks = w.reshape(n, k // GROUP, GROUP)
    block_scale = e4m3(scale * blocks.abs().amax(dim=2) / 6)
    block_scale = torch.where(block_scale.float() == 0, torch.tensor(0.125), block_scale.float())
    codes = e2m1_codes(blocks * scale / block_scale[:, :, None])
    tensors = {
        ".weight_packed": pack(codes.reshape(n, k)),
        ".weight_scale": e4m3(block_scale),
        ".weight_global_scale": scale.reshape(1),
        ".input_global_scale": torch.tensor([(6 * E4M3_MAX) / 8.0]),
    }
    return tensors, (e2m1_values(codes) * (block_scale[:, :, None] / scale)).reshape(n, k)
