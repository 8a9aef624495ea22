"""How alike two representations of the same images are."""

from __future__ import annotations

import math

import torch


def gram(features: torch.Tensor) -> torch.Tensor:
    """Features (N, D) → the products of all pairs of images (N, N), centred so that what follows from N alone, and
    not from D, is 0 on average. At least four images.

    U-centring of Székely & Rizzo 2014, "Partial distance correlation with methods for dissimilarities", 1310.2926.
    Plain centring would find a hundred images of pure noise alike as soon as there are thousands of features.
    """
    count = len(features)
    centred = features.double() - features.double().mean(0)  # changes nothing but keeps digits
    products = (centred @ centred.T).fill_diagonal_(0)
    means = products.sum(0) / (count - 2)
    products += means.sum() / (count - 1) - means - means[:, None]
    return products.fill_diagonal_(0)


def linear_cka(one: torch.Tensor, other: torch.Tensor) -> float | None:
    """Linear centred kernel alignment of two representations, from what ``gram`` gives of them: 1 where they are the
    same up to rotation, scale and offset, 0 where they have nothing in common; None where one says nothing.

    Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", 1905.00414, in the form without
    bias of its authors' code.
    """
    norms = float(one.norm() * other.norm())
    return min(max(float((one * other).sum()) / norms, 0.0), 1.0) if norms and math.isfinite(norms) else None
