"""The model as a Hugging Face folder: safetensors under the published names, in files of less than 16 MB, and back."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from model import Model, config_of, shape_of
from torch import Tensor

LIMIT = 15_000_000  # bytes a file

MAMBA = {
    "in_proj": "in_proj.weight", "out_proj": "out_proj.weight", "conv_bias": "conv1d.bias", "conv_weight": "conv1d.weight", "dt_bias": "dt_bias", "a_log": "A_log", "d": "D",
    "gate_norm": "norm.weight",
}  # fmt: skip
MOE = {
    "gate": "gate.weight",
    "bias": "gate.e_score_correction_bias",
    "shared_up": "shared_experts.up_proj.weight",
    "shared_down": "shared_experts.down_proj.weight",
}
IN_FLOAT32 = ("gate.weight", "gate.e_score_correction_bias")


def published_name(name: str) -> str:
    """Of a parameter or buffer; `experts.*` stands where the number of the expert goes."""
    direct = {
        "embeddings": "backbone.embeddings.weight", "norm_f": "backbone.norm_f.weight", "lm_head": "lm_head.weight", "enorm": "mtp.layers.0.enorm.weight", "hnorm": "mtp.layers.0.hnorm.weight",
        "eh_proj": "mtp.layers.0.eh_proj.weight", "draft_norm": "mtp.layers.1.final_layernorm.weight",
    }  # fmt: skip
    if name in direct:
        return direct[name]
    group, number, part = name.split(".")
    prefix = f"{'backbone' if group == 'layers' else 'mtp'}.layers.{number}."
    if part == "norm":
        return prefix + "norm.weight"
    if part in ("up", "down"):
        return f"{prefix}mixer.experts.*.{part}_proj.weight"
    return f"{prefix}mixer.{(MAMBA | MOE).get(part, f'{part}.weight')}"


def stored_type(name: str) -> torch.dtype:
    return torch.float32 if name.endswith(IN_FLOAT32) else torch.bfloat16


@torch.no_grad()
def tensors_of(model: Model, masters: dict[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """All tensors by published name. `masters` are taken in place of the model's matrices; dtype: of all, where not as stored."""
    found = {}
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        value, target = masters.get(name, value).detach().float().cpu(), published_name(name)
        if name.endswith(".conv_weight"):
            value = value[:, None]
        if name.endswith(".down"):
            value = value.mT
        parts = {target.replace("*", str(e)): w for e, w in enumerate(value)} if "*" in target else {target: value}
        found |= {n: w.to(dtype or stored_type(n)).contiguous() for n, w in parts.items()}
    return found


def write(folder: Path, model: Model, masters: dict[str, Tensor] | None = None, dtype: torch.dtype | None = None) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    tensors = tensors_of(model, masters or {}, dtype)
    files: list[dict[str, Tensor]] = [{}]
    size = 0
    for name in sorted(tensors):
        bytes_ = tensors[name].numel() * tensors[name].element_size()
        if size + bytes_ > LIMIT and files[-1]:
            files.append({})
            size = 0
        files[-1][name] = tensors[name]
        size += bytes_
    index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())}, "weight_map": {}}
    for i, part in enumerate(files, 1):
        file = "model.safetensors" if len(files) == 1 else f"model-{i:05}-of-{len(files):05}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        index["weight_map"] |= dict.fromkeys(part, file)
    if len(files) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
    (folder / "config.json").write_text(json.dumps(config_of(model.s), indent=1) + "\n")


@torch.no_grad()
def read(folder: Path) -> Model:
    """The model of a folder that `write` wrote, in float32."""
    from safetensors.torch import load_file

    stored: dict[str, Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        stored |= load_file(file)
    model = Model(shape_of(json.loads((folder / "config.json").read_text())))
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        target = published_name(name)
        w = (
            torch.stack([stored[target.replace("*", str(e))] for e in range(model.s.experts)])
            if "*" in target
            else stored[target]
        )
        w = w.float()
        value.copy_(w.mT if name.endswith(".down") else w.view(value.shape))
    return model
