"""All random number generators: their seed, and their states, to be put back."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Let all generators begin as a run with this ``train.seed`` has them begin."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def torch_state(device: torch.device) -> list[torch.Tensor]:
    """Of torch on the processor and, where that is another one, on the device."""
    state = [torch.get_rng_state()]
    if device.type == "cuda":
        state.append(torch.cuda.get_rng_state(device))
    elif device.type != "cpu":
        state.append(torch.get_device_module(device).get_rng_state())
    return state


def put_torch_back(state: list[torch.Tensor], device: torch.device) -> None:
    """Let torch's generators go on from ``state``; that of a device only if it is one of the same kind."""
    torch.set_rng_state(state[0])
    if len(state) > 1 and device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
    elif len(state) > 1 and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state[1])


@contextmanager
def same_randomness(device: torch.device) -> Iterator[None]:
    """Torch's generators come out as they went in."""
    state = torch_state(device)
    try:
        yield
    finally:
        put_torch_back(state, device)


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
    here, *beside = map(_text, torch_state(device))
    return RandomState(
        torch=here,
        device=beside[0] if beside else "",
        python=random.getstate(),
        numpy=(str(name), np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)),
    )


def put_back(state: RandomState, device: torch.device) -> None:
    """Let the generators go on from ``state``."""
    put_torch_back([_tensor(text) for text in (state.torch, state.device) if text], device)
    random.setstate(state.python)
    name, keys, position, has_gauss, gauss = state.numpy
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, gauss))


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
