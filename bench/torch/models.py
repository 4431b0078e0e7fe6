"""The models of bench/training/workloads.ts in PyTorch, with the same names of parameters.

training.py times them, loss_curve.py trains them on weft's weights and batches.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention with one projection for q, k and v."""

    def __init__(self, width, heads, causal, bias):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.projection = nn.Linear(width, width, bias=bias)

    def forward(self, x, rotary):
        batch, length, width = x.shape
        packed = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)  # (B,H,T,C/H) each
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.projection(y.transpose(1, 2).reshape(batch, length, width))


def rotate(x, tables):
    """Rotary positions: pairs of features (i, i + D/2) turned by angles that grow with the position."""
    cos, sin = (table[: x.shape[2]] for table in tables)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos + b * sin, b * cos - a * sin], dim=-1)


def rotary_tables(length, width, device):
    rates = torch.exp(torch.arange(width // 2, device=device) * (-math.log(10000) * 2 / width))
    angles = torch.arange(length, device=device)[:, None] * rates
    return angles.cos(), angles.sin()


class Block(nn.Module):
    def __init__(self, width, heads, causal, bias):
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=1e-6)
        self.attention = Attention(width, heads, causal, bias)
        self.norm2 = nn.RMSNorm(width, eps=1e-6)
        self.up = nn.Linear(width, 4 * width, bias=bias)
        self.down = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x, rotary=None):
        x = x + self.attention(self.norm1(x), rotary)
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary, length, width, heads, layers, device):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads, True, False) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.rotary = rotary_tables(length, width // heads, device)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)

    def forward(self, tokens, targets):
        """The loss."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.rotary)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Gpt2Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, True, True)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x), None)
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self, vocabulary, length, width, heads, layers):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Gpt2Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for name, weight in self.named_parameters():
            if "norm" in name:
                continue
            if weight.dim() == 1:
                nn.init.zeros_(weight)
            else:
                residual = name.endswith(("down.weight", "projection.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)

    def forward(self, tokens, targets):
        """The loss."""
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Vit(nn.Module):
    def __init__(self, width=256, heads=8, layers=6, patch=4, tokens=16, side=32):
        super().__init__()
        self.patch, self.grid = patch, side // patch
        self.embed = nn.Linear(3 * patch * patch, width)
        self.position = nn.Parameter(torch.randn(1, self.grid**2 + tokens, width))
        self.tokens = nn.Parameter(torch.randn(1, tokens, width))
        self.blocks = nn.ModuleList(Block(width, heads, False, True) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.head = nn.Linear(width, 10)

    def forward(self, images, labels):
        """The loss."""
        batch, n, p = images.shape[0], self.grid, self.patch
        patches = images.view(batch, 3, n, p, n, p).permute(0, 2, 4, 3, 5, 1)
        patches = self.embed(patches.reshape(batch, n * n, 3 * p * p))
        x = torch.cat([self.tokens.expand(batch, -1, -1), patches], dim=1) + self.position
        for block in self.blocks:
            x = block(x)
        mean = x[:, : self.tokens.shape[1]].mean(dim=1)
        return F.cross_entropy(self.head(self.norm(mean)), labels)


def adamw(parameters, fused):
    return torch.optim.AdamW(
        parameters, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=fused
    )


def adamw_matrices(parameters, fused):
    """Weight decay on matrices alone."""
    groups = [
        {"params": [p for p in parameters if p.dim() > 1]},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return adamw(groups, fused)


def sgd(parameters, fused):
    return torch.optim.SGD(parameters, lr=0.1)


class Workload:
    def __init__(self, model, optimizer, clip, batch, sample, targets, classes):
        self.model, self.optimizer, self.clip = model, optimizer, clip
        self.batch, self.sample, self.targets, self.classes = batch, sample, targets, classes

    def step(self, forward, parameters, optimizer, x, y, precision="f32"):
        """One whole training step; returns the loss."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = forward(x, y)
        loss.backward()
        if self.clip:
            nn.utils.clip_grad_norm_(parameters, self.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss


WORKLOADS = {
    "reverse": Workload(
        lambda device: Gpt(36, 64, 128, 4, 2, device), sgd, 0, 64, (64,), (64,), 36
    ),
    "vit": Workload(lambda device: Vit(), adamw, 0, 256, (3, 32, 32), (), 10),
    "minigpt": Workload(
        lambda device: Gpt(4096, 128, 256, 8, 6, device), adamw, 1.0, 64, (128,), (128,), 4096
    ),
    "gpt2-124m": Workload(
        lambda device: Gpt2(50304, 1024, 768, 12, 12),
        adamw_matrices,
        1.0,
        32,
        (1024,),
        (1024,),
        50304,
    ),
}
