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
    width: int = 192
    layers: int = 5
    heads: int = 6
    inner: int = 512
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

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], lengths: Sequence[int]) -> Tensor:
        """Mix the tokens (T × width) of a tree: the shared beginning and the branches are of these lengths."""
        query, key, value = (
            projection(x).view(len(x), self.heads, -1).transpose(0, 1)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = _rotated(query, rotation), _rotated(key, rotation)
        shared, *branches = zip(*(each.split(lengths, dim=1) for each in (query, key, value)), strict=True)
        mixed = [_attention(*shared)]
        for own_query, own_key, own_value in branches:
            keys, values = torch.cat((shared[1], own_key), dim=1), torch.cat((shared[2], own_value), dim=1)
            mixed.append(_attention(own_query, keys, values))
        return self.o_proj(torch.cat(mixed, dim=1).transpose(0, 1).reshape(len(x), -1))


def _attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The last tokens (heads × n × size) see all keys up to their own.

    On a CPU this is twice as quick, forth and back, as PyTorch's fused attention with heads of 32 (PyTorch 2.13).
    """
    n, m = query.shape[1], keys.shape[1]
    unseen = torch.full((n, m), -torch.inf, dtype=query.dtype).triu(m - n + 1)
    scores = torch.baddbmm(unseen.expand(len(query), n, m), query, keys.transpose(1, 2), alpha=query.shape[2] ** -0.5)
    return torch.bmm(scores.softmax(dim=-1), values)


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

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], lengths: Sequence[int]) -> Tensor:
        """Attention, then the feed-forward part, each added to what came in."""
        x = x + self.self_attn(self.input_layernorm(x), rotation, lengths)
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

    def forward(self, tokens: Tensor, positions: Tensor, lengths: Sequence[int]) -> Tensor:
        """The last hidden state of every token (T × width)."""
        x = self.model.embed_tokens(tokens)
        rotation = self._rotation(positions, x.dtype)
        for layer in self.model.layers:
            x = layer(x, rotation, lengths)
        return self.model.norm(x)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The cross entropy of every target (n) given the hidden state before it (n × width)."""
        logits = functional.linear(hidden, self.model.embed_tokens.weight)
        return functional.cross_entropy(logits.float(), targets, reduction="none")

    def _rotation(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        size = self.shape.width // self.shape.heads
        frequencies = self.shape.rope_theta ** -(torch.arange(0, size, 2) / size)
        angles = positions[:, None] * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine
