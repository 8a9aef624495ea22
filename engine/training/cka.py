"""Linear CKA: the similarity of two representations of the same images."""

from __future__ import annotations

import math

import torch


def gram(features: torch.Tensor) -> torch.Tensor:
    """The U-centred Gram matrix (N, N), float64, of features (N, D). N is at least 4.

    U-centring of Székely & Rizzo 2014, "Partial distance correlation with methods for dissimilarities", 1310.2926.
    With plain centring, a hundred images of pure noise look alike once there are thousands of features.
    """
    count = len(features)
    centred = features.double() - features.double().mean(0)  # only keeps precision
    products = (centred @ centred.T).fill_diagonal_(0)
    means = products.sum(0) / (count - 2)
    products += means.sum() / (count - 1) - means - means[:, None]
    return products.fill_diagonal_(0)


def linear_cka(one: torch.Tensor, other: torch.Tensor) -> float | None:
    """Linear centred kernel alignment of two representations, from their Gram matrices (N, N) by ``gram``.

    1: equal up to rotation, scale and offset. 0: nothing in common. None: one of them is constant or non-finite.
    Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", 1905.00414, in the unbiased form of
    the authors' code.
    """
    norms = float(one.norm() * other.norm())
    return min(max(float((one * other).sum()) / norms, 0.0), 1.0) if norms and math.isfinite(norms) else None
