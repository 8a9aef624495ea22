"""Seeds all random number generators, and saves and restores their states."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, as for a run with this ``train.seed``."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def torch_state(device: torch.device) -> list[torch.Tensor]:
    """The state of torch's CPU generator and, on an accelerator, that of the device's generator."""
    state = [torch.get_rng_state()]
    if device.type == "cuda":
        state.append(torch.cuda.get_rng_state(device))
    elif device.type != "cpu":
        state.append(torch.get_device_module(device).get_rng_state())
    return state


def restore_torch_rng_state(state: list[torch.Tensor], device: torch.device) -> None:
    """Restore torch's generators; the device's only if ``state`` has one for such a device."""
    torch.set_rng_state(state[0])
    if len(state) > 1 and device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
    elif len(state) > 1 and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state[1])


@contextmanager
def same_randomness(device: torch.device) -> Iterator[None]:
    """Restore torch's generators when the block ends."""
    state = torch_state(device)
    try:
        yield
    finally:
        restore_torch_rng_state(state, device)


class RandomState(msgspec.Struct):
    """States of all generators: torch's on the CPU and on the device ("" for none) in base64, Python's and NumPy's."""

    torch: str
    device: str
    python: tuple[int, tuple[int, ...], float | None]
    numpy: tuple[str, list[int], int, int, float]


def random_state(device: torch.device) -> RandomState:
    """The current state of all generators."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    here, *beside = map(_text, torch_state(device))
    return RandomState(
        torch=here,
        device=beside[0] if beside else "",
        python=random.getstate(),
        numpy=(str(name), np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)),
    )


def restore_rng_state(state: RandomState, device: torch.device) -> None:
    """Restore all generators."""
    restore_torch_rng_state([_tensor(text) for text in (state.torch, state.device) if text], device)
    random.setstate(state.python)
    name, keys, position, has_gauss, gauss = state.numpy
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, gauss))


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
