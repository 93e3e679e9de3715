"""The writer's network for training: a Qwen2 decoder whose conversations may share their beginning.

Its parameters have the names and shapes of transformers' `Qwen2ForCausalLM`, which loads them as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The sizes of the network."""

    vocabulary: int = 4_096
    width: int = 256
    layers: int = 6
    heads: int = 8
    inner: int = 768
    rope_theta: float = 10_000.0
    epsilon: float = 1e-6


class Attention(nn.Module):
    """Self-attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.width, shape.width)
        self.k_proj = nn.Linear(shape.width, shape.width)
        self.v_proj = nn.Linear(shape.width, shape.width)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], seen: Sequence[Tensor]) -> Tensor:
        """Mix the tokens (T × width) of each tree as `seen` (n × n for every tree) has it."""
        query, key, value = (
            projection(x).view(len(x), self.heads, -1).transpose(0, 1)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = _rotated(query, rotation), _rotated(key, rotation)
        mix = _mixed_as_one if isinstance(seen, Tensor) else _mixed_one_by_one
        return self.o_proj(mix(query, key, value, seen).transpose(0, 1).reshape(len(x), -1))


def _mixed_as_one(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """Trees of the same length, all at once: `seen` is trees × n × n."""
    query, key, value = (each.unflatten(1, seen.shape[:2]).transpose(0, 1) for each in (query, key, value))
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None])
    return mixed.transpose(0, 1).flatten(1, 2)


def _mixed_one_by_one(query: Tensor, key: Tensor, value: Tensor, seen: Sequence[Tensor]) -> Tensor:
    sizes = [len(each) for each in seen]
    parts = zip(*(each.split(sizes, dim=1) for each in (query, key, value)), seen, strict=True)
    return torch.cat([_attention(*part) for part in parts], dim=1)


def _attention(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """Mix the values (heads × n × size) by the scores of their keys.

    On a CPU this is twice as quick, forth and back, as PyTorch's fused attention with heads of 32 (PyTorch 2.13).
    """
    unseen = torch.zeros(seen.shape, dtype=query.dtype).masked_fill(~seen, -torch.inf)
    scores = torch.baddbmm(unseen.expand(len(query), -1, -1), query, key.transpose(1, 2), alpha=query.shape[2] ** -0.5)
    return torch.bmm(scores.softmax(dim=-1), value)


class Inner(nn.Module):
    """The gated feed-forward part of a layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Every token for itself."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One layer of the decoder."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Inner(shape)
        self.input_layernorm = nn.RMSNorm(shape.width, shape.epsilon)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, shape.epsilon)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], seen: Sequence[Tensor]) -> Tensor:
        """Attention, then the feed-forward part, each added to what came in."""
        x = x + self.self_attn(self.input_layernorm(x), rotation, seen)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    """Embeddings, layers and the last norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, shape.epsilon)


class Decoder(nn.Module):
    """A causal language model with tied embeddings."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02 if "embed" in name else parameter.shape[1] ** -0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        for layer in self.model.layers:
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)

    def forward(self, tokens: Tensor, positions: Tensor, seen: Sequence[Tensor]) -> Tensor:
        """The last hidden state of every token (T × width).

        `seen` says for each tree, one after the other, which of its tokens (n) see which (n × n); trees of one length
        may be given as one tensor, which a GPU works on at once.
        """
        x = self.model.embed_tokens(tokens)
        rotation = self._rotation(positions, x.dtype)
        for layer in self.model.layers:
            x = layer(x, rotation, seen)
        return self.model.norm(x)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The cross entropy of every target (n) given the hidden state before it (n × width)."""
        logits = functional.linear(hidden, self.model.embed_tokens.weight)
        return functional.cross_entropy(logits.float(), targets, reduction="none")

    def _rotation(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        size = self.shape.width // self.shape.heads
        frequencies = self.shape.rope_theta ** -(torch.arange(0, size, 2, device=positions.device) / size)
        angles = positions[:, None] * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine
