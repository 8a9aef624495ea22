"""The states of all random number generators, to be put back."""

from __future__ import annotations

import base64
import random

import msgspec
import numpy as np
import torch


class RandomState(msgspec.Struct):
    """Of torch on the processor and on the device ("" for a processor), as base64; of Python and of NumPy, as they
    give them."""

    torch: str
    device: str
    python: tuple[int, tuple[int, ...], float | None]
    numpy: tuple[str, list[int], int, int, float]


def random_state(device: torch.device) -> RandomState:
    """As it is now."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    beside = "" if device.type == "cpu" else _text(torch.get_device_module(device).get_rng_state())
    return RandomState(
        torch=_text(torch.get_rng_state()),
        device=beside,
        python=random.getstate(),
        numpy=(str(name), np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)),
    )


def put_back(state: RandomState, device: torch.device) -> None:
    """Let the generators go on from ``state``."""
    torch.set_rng_state(_tensor(state.torch))
    if state.device and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(_tensor(state.device))
    random.setstate(state.python)
    name, keys, position, has_gauss, gauss = state.numpy
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, gauss))


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
