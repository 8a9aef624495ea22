"""Columns of Arrow tables, as Parquet files and saved datasets have them. Imports neither torch nor Pillow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.config.schema import DataConfig
from engine.data.cell_text import cell_text, class_labels, features_of
from engine.data.table_columns import LABELS, PATHS, is_likely
from engine.errors import InputError
from engine.files.escapes import printable

# pyarrow has no types: schemas, record batches and arrays are Any.
_BYTES, _PATH = "bytes", "path"  # the fields of Hugging Face's images
_BINARY = frozenset({"binary", "large_binary", "binary_view"})
_STRINGS = frozenset({"string", "large_string", "string_view"})
_NUMBERS = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 halffloat float double".split())


def import_pyarrow(path: object) -> Any:  # noqa: ANN401
    """The module pyarrow. Raises InputError where it is missing; ``path``: what it is to read."""
    try:
        import pyarrow
    except ImportError:
        raise InputError(f'{path}: reading it needs pyarrow; run pip install "tltui[parquet]"') from None
    return pyarrow


@dataclass(frozen=True)
class ArrowColumns:
    """The columns of a table that are read.

    ``content`` and ``path``: the columns of image bytes and of image paths, "image.bytes" within a column of both;
    "" where there are none. ``heading``: columns that may hold labels; ``others`` are not read.
    ``names``: the class names of their numbers. ``lists``: those with any number of labels.
    ``labels``: names of label columns, the most usual first.
    """

    content: str
    path: str
    heading: list[str]
    others: list[str]
    names: dict[str, list[str]]
    lists: frozenset[str]
    labels: tuple[str, ...]

    def rows(self, batch: Any) -> Iterator[list[str]]:  # noqa: ANN401
        """The values of ``heading`` in each row of a record batch, as text."""
        columns = [
            [cell_text(value, self.names.get(name, ())) for value in batch.column(name).to_pylist()]
            for name in self.heading
        ]
        return (list(row) for row in zip(*columns, strict=True)) if columns else iter([[]] * batch.num_rows)


def with_one_part(columns: ArrowColumns, first: Any) -> ArrowColumns:  # noqa: ANN401
    """Of a column with bytes and paths the bytes, or else the paths, as the ``first`` record batch has them."""
    if not (columns.content and columns.path):
        return columns
    content = part(first, columns.content)
    return replace(columns, path="") if len(content) and content[0].is_valid else replace(columns, content="")


def part(batch: Any, column: str) -> Any:  # noqa: ANN401
    """A column of a record batch, or the field of a column, such as "image.bytes"."""
    if column in batch.schema.names:
        return batch.column(column)
    whole, _, field = column.rpartition(".")
    return batch.column(whole).field(field)


def find_arrow_columns(schema: Any, config: DataConfig) -> ArrowColumns:  # noqa: ANN401
    """Finds the columns of images and of labels in a pyarrow.Schema.

    Raises InputError, whose message is the end of a sentence, where there are no images.
    """
    features = features_of((schema.metadata or {}).get(b"huggingface", b""))
    names = class_labels(features)
    image = _image_column(schema, features, config)
    content, path = _parts(schema.field(image))
    fields = {field.name: field.type for field in schema if field.name != image}
    labels = (*LABELS, *(names if len(names) == 1 else ()))
    used = {name for name in fields if name in names or is_likely(name, config)}
    if not any(name in config.label_column or name in labels for name in used):
        used |= {name for name, kind in fields.items() if str(kind) in _NUMBERS}  # perhaps one for each label
    heading = [name for name, kind in fields.items() if name in used and _holds_values(kind)]
    lists = frozenset(name for name in heading if _item_type(fields[name]) != fields[name])
    others = [name for name in fields if name not in heading]
    return ArrowColumns(content, path, heading, others, names, lists, labels)


def _image_column(schema: Any, features: Mapping[str, Any], config: DataConfig) -> str:  # noqa: ANN401
    """The chosen column, else one of images, of bytes, or of paths."""
    has = printable(", ".join(schema.names))
    if config.path_column:
        if config.path_column not in schema.names:
            raise InputError(f'has no column "{printable(config.path_column)}", but {has}; change data.path_column')
        return config.path_column
    usual = {name: PATHS.index(name.lower()) for name in schema.names if name.lower() in PATHS}
    names = sorted(schema.names, key=lambda name: usual.get(name, len(PATHS)))
    declared = [name for name in names if _is_image(features.get(name))]
    of_bytes = [name for name in names if _has_bytes(schema.field(name).type)]
    of_paths = [name for name in names if name in usual and str(schema.field(name).type) in _STRINGS]
    if found := [*declared, *of_bytes, *of_paths]:
        return found[0]
    raise InputError(f"has no column of images, but {has}; set data.path_column to the one with their bytes or paths")


def _is_image(feature: object) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "Image"


def _parts(field: Any) -> tuple[str, str]:  # noqa: ANN401
    """The columns of bytes and of paths in the column of images."""
    kind = field.type
    parts = {f"{field.name}.{one.name}": str(one.type) for one in kind} if _is_struct(kind) else {field.name: str(kind)}
    content = [
        name for name, kind in parts.items() if kind in _BINARY and name in (field.name, f"{field.name}.{_BYTES}")
    ]
    path = [name for name, kind in parts.items() if kind in _STRINGS and name in (field.name, f"{field.name}.{_PATH}")]
    if not (content or path):
        raise InputError(
            f'the column "{printable(field.name)}" holds {printable(str(kind))}, neither bytes nor paths of images; '
            "change data.path_column"
        )
    return "".join(content), "".join(path)


def _has_bytes(kind: Any) -> bool:  # noqa: ANN401
    return str(kind) in _BINARY or (
        _is_struct(kind) and any(one.name == _BYTES and str(one.type) in _BINARY for one in kind)
    )


def _is_struct(kind: Any) -> bool:  # noqa: ANN401
    return str(kind).startswith("struct<")


def _item_type(kind: Any) -> Any:  # noqa: ANN401
    """The type of a list's items, or of a dictionary's values; other types as they are."""
    if str(kind).startswith(("list<", "large_list<", "fixed_size_list<")):
        return kind.value_type
    return kind


def _holds_values(kind: Any) -> bool:  # noqa: ANN401
    """Whether a column holds text, numbers or truth values, or lists of them."""
    item = _item_type(kind)
    if str(item).startswith("dictionary<"):
        item = item.value_type
    return str(item) in _NUMBERS or str(item) in _STRINGS
