"""The images of class folders as shards, Parquet files and saved datasets, for tests."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

Labels = Callable[[str, int], Mapping[str, bytes]]
"""The members beside an image, by suffix, from its class and the class's number."""


def class_images(folder: Path) -> list[tuple[str, Path]]:
    """The class and the path of each image, in the order of the folder source."""
    return [(path.parent.name, path) for path in sorted(folder.rglob("*.png"))]


def write_shards(folder: Path, out: Path, names: Sequence[str], labels: Labels) -> Path:
    """The images of a folder in tar archives of like size, each image with ``labels`` beside it."""
    out.mkdir(parents=True, exist_ok=True)
    images = class_images(folder)
    classes = sorted({label for label, _ in images})
    for at, name in enumerate(names):
        with tarfile.open(out / name, "w") as archive:
            for number in range(at * len(images) // len(names), (at + 1) * len(images) // len(names)):
                label, path = images[number]
                members = {".png": path.read_bytes(), **labels(label, classes.index(label))}
                for suffix, content in members.items():
                    entry = tarfile.TarInfo(f"{number:04}{suffix}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    return out


def image_table(folder: Path, **columns: Sequence[Any]) -> pa.Table:
    """The images of a folder as Hugging Face's datasets describe them, and further columns."""
    images = class_images(folder)
    classes = sorted({label for label, _ in images})
    features = {"image": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    found = {
        "image": pa.array([{"bytes": path.read_bytes(), "path": path.name} for _, path in images], kind),
        "label": pa.array([classes.index(label) for label, _ in images]),
        **{name: pa.array(values) for name, values in columns.items()},
    }
    return pa.table(found).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_parquet(table: pa.Table, path: Path, rows: int = 7) -> Path:
    """``rows``: of a row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=rows)
    return path


def save_to_disk(table: pa.Table, folder: Path, files: int = 2) -> Path:
    """A dataset as ``Dataset.save_to_disk`` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{at:05}-of-{files:05}.arrow" for at in range(files)]
    for at, name in enumerate(names):
        part = table.slice(at * len(table) // files, (at + 1) * len(table) // files - at * len(table) // files)
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(part, max_chunksize=5)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))
    return folder


def save_splits(tables: Mapping[str, pa.Table], folder: Path) -> Path:
    """Splits as ``DatasetDict.save_to_disk`` writes them."""
    for name, table in tables.items():
        save_to_disk(table, folder / name)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(tables)}))
    return folder
