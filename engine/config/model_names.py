"""Names of networks that lie on the Hugging Face Hub or in a folder, as timm writes them. Imports no torch."""

from __future__ import annotations

from pathlib import Path

HUB = "hf-hub:"
FOLDER = "local-dir:"


def is_hub_name(name: str) -> bool:
    """Whether ``name`` means a repository or a folder with timm's config.json, not a network of a library."""
    return name.startswith((HUB, FOLDER))


def model_label(name: str) -> str:
    """A short name of a network: that of a folder without the folders above it."""
    return Path(name.removeprefix(FOLDER)).name if name.startswith(FOLDER) else name.removeprefix(HUB)
