"""How alike two representations of the same pictures are."""

from __future__ import annotations

import torch


def gram(features: torch.Tensor) -> torch.Tensor:
    """Features (N, D) → the products of all pairs of pictures (N, N), each feature centred over the pictures."""
    centred = features.double() - features.double().mean(0)
    return centred @ centred.T


def linear_cka(one: torch.Tensor, other: torch.Tensor) -> float | None:
    """Linear centred kernel alignment of two representations, 0 to 1, from their Gram matrices (N, N); None where one
    of them is the same for all pictures.

    Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", 1905.00414: with K = XXᵀ and
    L = YYᵀ, ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) = ⟨K, L⟩ / (‖K‖ ‖L‖).
    """
    norms = float(one.norm() * other.norm())
    return min(float((one * other).sum()) / norms, 1.0) if norms else None
