"""The demo model in plain PyTorch: a small Nemotron-H with a draft block, written to be trained fast.

What `nemotron_h` of transformers defines, in the shapes that suit a small model on a large GPU: Mamba-2 as chunked
matrix products; all experts of a token computed, those that were not chosen weighted by nothing; sequences packed into
rows, of which `segments` [B, T] says which tokens belong together. Matrices are stored in the type they are multiplied in
(the trainer keeps float32 masters), everything small in float32. Shapes: B rows, T tokens, H width, h heads, P head width,
N state, G groups, Q chunk.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 64
EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    vocabulary: int = 2560
    width: int = 256
    pattern: str = "MEMM*EMEM*E"
    mamba_heads: int = 16
    mamba_head_width: int = 64
    state: int = 64
    groups: int = 1
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 64
    experts: int = 16
    chosen: int = 4
    expert_width: int = 128
    shared_width: int = 256
    scaling: float = 2.5
    context: int = 4096

    @property
    def inner(self) -> int:
        return self.mamba_heads * self.mamba_head_width

    @property
    def conv_width(self) -> int:
        return self.inner + 2 * self.groups * self.state


TOY = Shape(
    pattern="ME*E",
    width=128,
    mamba_heads=8,
    state=32,
    groups=2,
    experts=16,
    expert_width=64,
    shared_width=128,
    heads=2,
    kv_heads=1,
)


def config_of(shape: Shape) -> dict:
    """config.json, with the keys of the published checkpoints."""
    words = {"M": "mamba", "E": "moe", "*": "attention"}
    return {
        "architectures": ["NemotronHForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "chunk_size": 128,
        "conv_kernel": 4,
        "dtype": "bfloat16",
        "eos_token_id": 2,
        "expand": 2,
        "head_dim": shape.head_width,
        "hidden_dropout": 0.0,
        "hidden_size": shape.width,
        "initializer_range": 0.02,
        "intermediate_size": shape.expert_width,
        "layer_norm_epsilon": EPSILON,
        "layers_block_type": [words[c] for c in shape.pattern],
        "mamba_head_dim": shape.mamba_head_width,
        "mamba_hidden_act": "silu",
        "mamba_num_heads": shape.mamba_heads,
        "mamba_proj_bias": False,
        "mamba_ssm_cache_dtype": "float32",
        "max_position_embeddings": shape.context,
        "mlp_bias": False,
        "mlp_hidden_act": "relu2",
        "model_type": "nemotron_h",
        "moe_intermediate_size": shape.expert_width,
        "moe_latent_size": None,
        "moe_shared_expert_intermediate_size": shape.shared_width,
        "mtp_layers_block_type": ["attention", "moe"],
        "n_group": 1,
        "n_groups": shape.groups,
        "n_routed_experts": shape.experts,
        "n_shared_experts": 1,
        "norm_eps": EPSILON,
        "norm_topk_prob": True,
        "num_attention_heads": shape.heads,
        "num_experts_per_tok": shape.chosen,
        "num_hidden_layers": len(shape.pattern),
        "num_key_value_heads": shape.kv_heads,
        "num_logits_to_keep": 1,
        "num_nextn_predict_layers": 1,
        "pad_token_id": 0,
        "partial_rotary_factor": 1.0,
        "rescale_prenorm_residual": True,
        "residual_in_fp32": False,
        "rope_theta": 10000,
        "routed_scaling_factor": shape.scaling,
        "sliding_window": None,
        "ssm_state_size": shape.state,
        "tie_word_embeddings": False,
        "time_step_floor": 1e-4,
        "time_step_max": 0.1,
        # transformers takes this for the least step while it reads a prompt: so small that it changes nothing.
        "time_step_min": 1e-6,
        "topk_group": 1,
        "use_bias": False,
        "use_cache": True,
        "use_conv_bias": True,
        "use_mamba_kernels": True,
        "vocab_size": shape.vocabulary,
    }


def shape_of(config: dict) -> Shape:
    letters = {"mamba": "M", "moe": "E", "attention": "*"}
    return Shape(
        config["vocab_size"], config["hidden_size"], "".join(letters[w] for w in config["layers_block_type"]), config["mamba_num_heads"], config["mamba_head_dim"],
        config["ssm_state_size"], config["n_groups"], config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"], config["n_routed_experts"],
        config["num_experts_per_tok"], config["moe_intermediate_size"], config["moe_shared_expert_intermediate_size"], config["routed_scaling_factor"], config["max_position_embeddings"],
    )  # fmt: skip


def rms(x: Tensor, weight: Tensor) -> Tensor:
    y = x.float()
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + EPSILON) * weight).to(x.dtype)


# ------------------------------------------------------------------------- layers, as functions of their tensors


def chunked_scan(x: Tensor, b: Tensor, c: Tensor, dt: Tensor, a: Tensor, segments: Tensor) -> Tensor:
    """x [B,T,h,P], b and c [B,T,G,N], dt [B,T,h] float32, a [h] -> y [B,T,h,P] float32, without D."""
    rows, length, heads, width = x.shape
    groups, state = b.shape[2:]
    q = min(CHUNK, length)
    chunks, per_group = length // q, heads // groups
    segment = segments.view(rows, chunks, q)
    last = segment[:, :, -1]
    x = x.view(rows, chunks, q, heads, width)
    b = b.view(rows, chunks, q, groups, state).transpose(2, 3)  # [B,c,G,Q,N]
    c = c.view(rows, chunks, q, groups, state).transpose(2, 3)
    dt = dt.view(rows, chunks, q, heads)
    sums = (dt * a).cumsum(2)  # [B,c,Q,h]

    together = (segment[:, :, :, None] == segment[:, :, None, :]).tril()[:, :, None]  # [B,c,1,Q,Q]
    of_head = sums.transpose(2, 3)  # [B,c,h,Q]
    decay = torch.exp((of_head[..., :, None] - of_head[..., None, :]).masked_fill(~together, -math.inf))
    scores = (c @ b.transpose(-1, -2)).repeat_interleave(per_group, 2)  # [B,c,h,Q,Q]
    within = (scores * decay * dt.transpose(2, 3)[..., None, :]).to(x.dtype) @ x.transpose(2, 3)  # [B,c,h,Q,P]

    def grouped(y: Tensor) -> Tensor:  # [B,c,Q,h,P] -> [B,c,G,Q,h/G·P]: the heads of a group share b and c
        return y.reshape(rows, chunks, q, groups, per_group * width).transpose(2, 3)

    to_end = torch.exp(sums[:, :, -1:] - sums) * dt * (segment == last[..., None])[..., None]
    local = (grouped((x * to_end[..., None]).to(x.dtype)).transpose(-1, -2) @ b).float()  # [B,c,G,h/G·P,N]

    total = sums[:, :, -1].transpose(1, 2).cumsum(-1)  # [B,h,c]
    before = F.pad(total[..., :-1], (1, 0))
    last_before = F.pad(last[:, :-1], (1, 0), value=-1)
    reaches = (last_before[:, :, None] == last[:, None, :]).tril(-1)[:, None]  # [B,1,c,c]
    carry = torch.exp((before[..., :, None] - total[..., None, :]).masked_fill(~reaches, -math.inf))
    entering = carry @ local.view(rows, chunks, heads, width * state).transpose(1, 2)  # [B,h,c,P·N]
    entering = entering.transpose(1, 2).to(x.dtype).reshape(rows, chunks, groups, per_group * width, state)
    from_before = (c @ entering.transpose(-1, -2)).transpose(2, 3).reshape(x.shape)  # [B,c,Q,h,P]
    since = torch.exp(sums) * (segment == last_before[..., None])[..., None]
    y = within.transpose(2, 3).float() + from_before.float() * since[..., None]
    return y.reshape(rows, length, heads, width)


def gated_norm(y: Tensor, z: Tensor, weight: Tensor, groups: int) -> Tensor:
    v = y.float() * F.silu(z.float())
    v = v.unflatten(-1, (groups, -1))
    v = v * torch.rsqrt(v.square().mean(-1, keepdim=True) + EPSILON)
    return (v.flatten(-2) * weight).to(z.dtype)


def mamba_layer(
    x,
    segments,
    norm,
    in_proj,
    conv_weight,
    conv_bias,
    dt_bias,
    a_log,
    d,
    gate_norm,
    out_proj,
    heads: int,
    groups: int,
    state: int,
):
    inner = out_proj.shape[1]
    conv_width = inner + 2 * groups * state
    u = F.linear(rms(x, norm), in_proj)
    z, mixed, dt = u.split([inner, conv_width, heads], -1)
    summed = mixed.float() * conv_weight[:, 3] + conv_bias
    for back in (1, 2, 3):
        same = F.pad(segments, (back, 0), value=-1)[:, : x.shape[1]] == segments
        summed = summed + F.pad(mixed, (0, 0, back, 0))[:, : x.shape[1]].float() * same[..., None] * conv_weight[:, 3 - back]
    mixed = F.silu(summed).to(x.dtype)
    inputs, b, c = mixed.split([inner, groups * state, groups * state], -1)
    inputs = inputs.unflatten(-1, (heads, -1))
    dt = F.softplus(dt.float() + dt_bias)
    y = chunked_scan(inputs, b.unflatten(-1, (groups, state)), c.unflatten(-1, (groups, state)), dt, -torch.exp(a_log), segments)
    y = (y + inputs.float() * d[:, None]).flatten(-2).to(x.dtype)
    return x + F.linear(gated_norm(y, z, gate_norm, groups), out_proj)


def routing(x: Tensor, gate: Tensor, bias: Tensor, chosen: int, scaling: float) -> tuple[Tensor, Tensor]:
    """Weights of all experts [..., E], zero for those not chosen; and which are chosen."""
    scores = torch.sigmoid(F.linear(x.float(), gate))
    choice = (scores + bias).detach()
    earlier = torch.arange(gate.shape[0], device=x.device)
    better = (choice[..., None, :] > choice[..., :, None]) | (
        (choice[..., None, :] == choice[..., :, None]) & (earlier[None, :] < earlier[:, None])
    )
    among = (better.sum(-1) < chosen).float()
    weights = scores * among
    return weights / (weights.sum(-1, keepdim=True) + 1e-20) * scaling, among


def moe_layer(x, norm, gate, bias, up, down, shared_up, shared_down, chosen: int, scaling: float):
    """up [E,I,H]; down [E,I,H], transposed to what is published. Returns the load of each expert beside."""
    y = rms(x, norm)
    weights, among = routing(y, gate, bias, chosen, scaling)
    h = F.relu(F.linear(y, up.flatten(0, 1))).square().unflatten(-1, (up.shape[0], -1))
    h = (h * weights[..., None]).to(x.dtype).flatten(-2)
    shared = F.linear(F.relu(F.linear(y, shared_up)).square(), shared_down)
    return x + (h @ down.flatten(0, 1) + shared), among.mean((0, 1))


def attention_layer(x, mask, norm, q_proj, k_proj, v_proj, o_proj, width: int):
    """mask [B,1,T,T]: what sees what."""
    y = rms(x, norm)
    q, k, v = (F.linear(y, w).unflatten(-1, (-1, width)).transpose(1, 2) for w in (q_proj, k_proj, v_proj))
    k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], 1) for t in (k, v))
    return x + F.linear(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2), o_proj)


def draft_input(embedded, hidden, enorm, hnorm, eh_proj):
    return F.linear(torch.cat([rms(embedded, enorm), rms(hidden, hnorm)], -1), eh_proj)


def losses(hidden, norm, head, targets, weights):
    """Mean loss of the positions, by their weights; and that of those whose weight is 1."""
    logits = F.linear(rms(hidden, norm), head).float()
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(weights)
    answers = (weights == 1).float()
    return (loss * weights).sum() / weights.sum().clamp(min=1), (loss.detach() * answers).sum() / answers.sum().clamp(min=1)


# ------------------------------------------------------------------------------------------------- modules


def matrix(*shape: int, gain: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * gain / math.sqrt(shape[-1]))


class Mamba(nn.Module):
    def __init__(self, s: Shape, depth: int):
        super().__init__()
        self.s = s
        self.norm = nn.Parameter(torch.ones(s.width))
        self.in_proj = matrix(s.inner + s.conv_width + s.mamba_heads, s.width)
        self.conv_weight = nn.Parameter(torch.empty(s.conv_width, 4).uniform_(-0.5, 0.5))
        self.conv_bias = nn.Parameter(torch.zeros(s.conv_width))
        dt = torch.exp(torch.rand(s.mamba_heads) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.a_log = nn.Parameter(torch.log(torch.linspace(1, 16, s.mamba_heads)))
        self.d = nn.Parameter(torch.ones(s.mamba_heads))
        self.gate_norm = nn.Parameter(torch.ones(s.inner))
        self.out_proj = matrix(s.width, s.inner, gain=1 / math.sqrt(depth))

    def forward(self, x: Tensor, segments: Tensor, layer=mamba_layer) -> Tensor:
        return layer(x, segments, self.norm, self.in_proj, self.conv_weight, self.conv_bias, self.dt_bias, self.a_log, self.d, self.gate_norm, self.out_proj, self.s.mamba_heads, self.s.groups, self.s.state)  # fmt: skip

    def step(self, x: Tensor, cache: dict) -> Tensor:
        """x [B,H]: one token of each row."""
        s = self.s
        if not cache:
            cache["conv"] = x.new_zeros(x.shape[0], 3, s.conv_width)
            cache["state"] = torch.zeros(x.shape[0], s.mamba_heads, s.mamba_head_width, s.state, device=x.device)
        z, mixed, dt = F.linear(rms(x, self.norm), self.in_proj).split([s.inner, s.conv_width, s.mamba_heads], -1)
        window = torch.cat([cache["conv"], mixed[:, None]], 1)
        cache["conv"] = window[:, 1:]
        mixed = F.silu((window.float() * self.conv_weight.t()).sum(1) + self.conv_bias).to(x.dtype).float()
        inputs, b, c = mixed.split([s.inner, s.groups * s.state, s.groups * s.state], -1)
        inputs = inputs.view(-1, s.mamba_heads, s.mamba_head_width)
        b, c = (t.view(-1, s.groups, s.state).repeat_interleave(s.mamba_heads // s.groups, 1) for t in (b, c))
        dt = F.softplus(dt.float() + self.dt_bias)
        cache["state"].mul_(torch.exp(-dt * torch.exp(self.a_log))[..., None, None]).add_(
            (dt[..., None] * inputs)[..., None] * b[:, :, None]
        )
        y = (cache["state"] @ c[..., None])[..., 0] + inputs * self.d[:, None]
        return x + F.linear(gated_norm(y.flatten(1).to(x.dtype), z, self.gate_norm, s.groups), self.out_proj)


class Moe(nn.Module):
    def __init__(self, s: Shape, depth: int):
        super().__init__()
        self.s = s
        self.norm = nn.Parameter(torch.ones(s.width))
        self.gate = nn.Parameter(torch.randn(s.experts, s.width) * 0.02)
        self.register_buffer("bias", torch.zeros(s.experts))
        self.up = matrix(s.experts, s.expert_width, s.width)
        self.down = nn.Parameter(
            torch.randn(s.experts, s.expert_width, s.width) / math.sqrt(s.expert_width * s.chosen * depth) / s.scaling * 2
        )
        self.shared_up = matrix(s.shared_width, s.width)
        self.shared_down = matrix(s.width, s.shared_width, gain=1 / math.sqrt(depth))

    def forward(self, x: Tensor, layer=moe_layer) -> tuple[Tensor, Tensor]:
        return layer(
            x,
            self.norm,
            self.gate,
            self.bias,
            self.up,
            self.down,
            self.shared_up,
            self.shared_down,
            self.s.chosen,
            self.s.scaling,
        )

    def step(self, x: Tensor, cache: dict) -> Tensor:
        return self.forward(x[:, None])[0][:, 0]


class Attention(nn.Module):
    def __init__(self, s: Shape, depth: int):
        super().__init__()
        self.s = s
        self.norm = nn.Parameter(torch.ones(s.width))
        self.q_proj = matrix(s.heads * s.head_width, s.width)
        self.k_proj = matrix(s.kv_heads * s.head_width, s.width)
        self.v_proj = matrix(s.kv_heads * s.head_width, s.width)
        self.o_proj = matrix(s.width, s.heads * s.head_width, gain=1 / math.sqrt(depth))

    def forward(self, x: Tensor, mask: Tensor, layer=attention_layer) -> Tensor:
        return layer(x, mask, self.norm, self.q_proj, self.k_proj, self.v_proj, self.o_proj, self.s.head_width)

    def step(self, x: Tensor, cache: dict) -> Tensor:
        s = self.s
        if not cache:
            cache["n"], cache["kv"] = 0, x.new_zeros(2, x.shape[0], s.kv_heads, 64, s.head_width)
        if cache["n"] == cache["kv"].shape[3]:
            cache["kv"] = torch.cat([cache["kv"], torch.zeros_like(cache["kv"])], 3)
        y = rms(x, self.norm)
        cache["kv"][:, :, :, cache["n"]] = torch.stack(
            [F.linear(y, w).view(-1, s.kv_heads, s.head_width) for w in (self.k_proj, self.v_proj)]
        )
        cache["n"] += 1
        k, v = cache["kv"][:, :, :, : cache["n"]]
        q = F.linear(y, self.q_proj).view(-1, s.kv_heads, s.heads // s.kv_heads, s.head_width)
        scores = (q @ k.transpose(-1, -2)).float() / math.sqrt(s.head_width)
        return x + F.linear((scores.softmax(-1).to(x.dtype) @ v).flatten(1), self.o_proj)


class Model(nn.Module):
    """`compiled` replaces the layers' functions by compiled ones, once for all layers of a kind."""

    def __init__(self, s: Shape):
        super().__init__()
        self.s = s
        depth = len(s.pattern)
        self.embeddings = nn.Parameter(torch.randn(s.vocabulary, s.width) * 0.5)
        self.layers = nn.ModuleList({"M": Mamba, "E": Moe, "*": Attention}[c](s, depth) for c in s.pattern)
        self.norm_f = nn.Parameter(torch.ones(s.width))
        self.lm_head = matrix(s.vocabulary, s.width, gain=0.5)
        self.enorm = nn.Parameter(torch.ones(s.width))
        self.hnorm = nn.Parameter(torch.ones(s.width))
        self.eh_proj = matrix(s.width, 2 * s.width)
        self.draft = nn.ModuleList([Attention(s, depth), Moe(s, depth)])
        self.draft_norm = nn.Parameter(torch.ones(s.width))
        self.functions = {f.__name__: f for f in (mamba_layer, moe_layer, attention_layer, draft_input, losses)}

    def compile_layers(self) -> None:
        self.functions = {name: torch.compile(f, dynamic=False) for name, f in self.functions.items()}

    def matrices(self) -> dict[str, nn.Parameter]:
        """Everything that is a linear layer's weight, and the embedding."""
        return {n: p for n, p in self.named_parameters() if p.ndim >= 2 and not n.endswith((".conv_weight", ".gate"))}

    def quantised(self) -> dict[str, nn.Parameter]:
        return {n: p for n, p in self.matrices().items() if n != "embeddings"}

    def cast(self, dtype: torch.dtype) -> Model:
        for p in self.matrices().values():
            p.data = p.data.to(dtype)
        return self

    def hidden(self, tokens: Tensor, segments: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Before norm_f [B,T,H]; the mask; the experts' loads."""
        f = self.functions
        mask = (segments[:, :, None] == segments[:, None, :]).tril()[:, None]
        x, loads = F.embedding(tokens, self.embeddings), []
        for kind, layer in zip(self.s.pattern, self.layers, strict=True):
            if kind == "M":
                x = layer(x, segments, f["mamba_layer"])
            elif kind == "*":
                x = layer(x, mask, f["attention_layer"])
            else:
                x, load = layer(x, f["moe_layer"])
                loads.append(load)
        return x, mask, loads

    def forward(self, tokens: Tensor, segments: Tensor) -> Tensor:
        """Logits [B,T,V]."""
        return F.linear(rms(self.hidden(tokens, segments)[0], self.norm_f), self.lm_head)

    def drafted(self, tokens: Tensor, normed: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The draft block's hidden states before its last norm; position t has seen token t + 1."""
        following = F.embedding(F.pad(tokens[:, 1:], (0, 1)), self.embeddings)
        u = self.functions["draft_input"](following, normed, self.enorm, self.hnorm, self.eh_proj)
        u = self.draft[0](u, mask, self.functions["attention_layer"])
        return self.draft[1](u, self.functions["moe_layer"])

    def train_losses(
        self, tokens: Tensor, segments: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
        """Loss and the draft's, both over weighted tokens and over answers only; `weights` are those of tokens as targets."""
        x, mask, loads = self.hidden(tokens, segments)

        def ahead(n: int) -> tuple[Tensor, Tensor]:
            same = F.pad(segments[:, n:], (0, n), value=-1) == segments
            return F.pad(tokens[:, n:], (0, n)), F.pad(weights[:, n:], (0, n)) * same

        main, answers = self.functions["losses"](x, self.norm_f, self.lm_head, *ahead(1))
        u, load = self.drafted(tokens, rms(x, self.norm_f), mask)
        draft, draft_answers = self.functions["losses"](u, self.draft_norm, self.lm_head, *ahead(2))
        return main, draft, answers, draft_answers, [*loads, load]

    def moe_layers(self) -> list[Moe]:
        return [m for m in self.modules() if isinstance(m, Moe)]

    def step(self, tokens: Tensor, caches: list[dict]) -> Tensor:
        """One token of each row [B] -> normed hidden state [B,H]."""
        x = F.embedding(tokens, self.embeddings)
        for layer, cache in zip(self.layers, caches, strict=False):
            x = layer.step(x, cache)
        return rms(x, self.norm_f)

    def draft_step(self, tokens: Tensor, normed: Tensor, cache: dict) -> Tensor:
        """The draft block's hidden state, from the state at t and token t + 1."""
        u = draft_input(F.embedding(tokens, self.embeddings), normed, self.enorm, self.hnorm, self.eh_proj)
        return rms(self.draft[1].step(self.draft[0].step(u, cache), {}), self.draft_norm)


__all__ = ["TOY", "Model", "Shape", "asdict", "config_of", "shape_of"]
