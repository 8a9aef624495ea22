"""A setting whose choices are the entries of a registry, as they are when a config is validated. Imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class Choices:
    """Marks a text setting that takes the names in ``registry``: ``Annotated[str, Choices(OPTIMIZERS)]``.

    ``first``: further values, such as "auto".
    """

    registry: Mapping[str, object]
    first: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    @property
    def names(self) -> list[str]:
        """All values of the setting."""
        return [*self.first, *self.registry]

    def _check(self, name: str) -> str:
        if name not in self.names:
            raise PydanticCustomError("choice", "not a known name")
        return name


def choices_of(field: FieldInfo) -> list[Any] | None:
    """What a setting can be chosen from; None where it is no choice."""
    if get_origin(field.annotation) is Literal:
        return list(get_args(field.annotation))
    return next((mark.names for mark in field.metadata if isinstance(mark, Choices)), None)


def describe_choices(helps: Iterable[tuple[str, str]]) -> str:
    """Names with their help, for a setting's description."""
    return ", ".join(f"{name} {text}".strip() for name, text in helps)


def load_target(target: str) -> Callable[..., Any]:
    """The function or class that a registry names as ``"package.module:attribute"``, imported now."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
