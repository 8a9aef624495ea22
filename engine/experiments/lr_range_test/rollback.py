"""Rolls back training steps, so that a session is bit for bit what it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine.rng import random_state, restore_rng_state
from engine.training import optimizers
from engine.training.session import Session


@contextmanager
def trial(session: Session) -> Iterator[None]:
    """Train within the block with a new optimizer and loss scaler, and restore the session afterwards.

    Restores weights, batch statistics, random state, modes and the step count.
    """
    module = session.classifier.module
    optimizer, scaler, step = session.optimizer, session.scaler, session.step
    random = random_state(session.device)
    modes = {path: layer.training for path, layer in module.named_modules()}
    frozen = session.freezing.frozen()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items() if name not in frozen}
    session.optimizer = optimizers.build(session.config.optimizer, session.freezing.trainable, session.depths)
    session.scaler = session.precision.scaler()
    session.freezing.train_mode()
    try:
        yield
    finally:
        session.optimizer.zero_grad()
        session.optimizer, session.scaler, session.step = optimizer, scaler, step
        now = module.state_dict()
        with torch.no_grad():
            for name, tensor in before.items():
                now[name].copy_(tensor)
        for path, layer in module.named_modules():
            layer.training = modes[path]
        restore_rng_state(random, session.device)
