"""L2-SP: pulls the weights of the backbone towards those that they started from (Li, Grandvalet and Davoine 2018)."""

from __future__ import annotations

import torch

from engine.training.session import Session


@torch.no_grad()
def add_l2_sp_gradients(session: Session) -> None:
    """Add the gradient of train.l2_sp / 2 · ‖w − w₀‖² over the trainable backbone parameters (1802.01483).

    Only the first process adds it, because gradients are summed over all of them. The loss that steps report leaves it
    out, as it does weight decay.
    """
    strength = session.config.train.l2_sp
    if not strength or not session.context.ranks.is_main:
        return
    start, scale = session.initial_weights.weights, session.scaler.get_scale()
    for name, parameter in session.freezing.trainable.items():
        if session.depths[name].distance and parameter.grad is not None:
            parameter.grad.add_(parameter - start[name], alpha=strength * scale)
