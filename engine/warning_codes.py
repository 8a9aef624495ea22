"""The warning codes and their meanings. Imports no torch.

Codes are stable, for scripts. A new one needs an entry in ``WarningCode`` and in ``MEANINGS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

WarningCode = Literal[
    "archive_members",
    "best_lost",
    "cache_full",
    "cache_memory_full",
    "cache_too_small",
    "cache_unusable",
    "checkpoint_damaged",
    "checkpoint_failed",
    "class_missing",
    "column_not_used",
    "commands_refused",
    "data_changed",
    "files_passed_over",
    "forgetting",
    "group_suggested",
    "groups_in_several_splits",
    "head_frozen",
    "leakage",
    "log_waits",
    "nested_classes",
    "not_cut",
    "not_written",
    "out_of_memory",
    "own_splits_ignored",
    "random_layers_frozen",
    "rolled_back",
    "rows_repeated",
    "split_file_differs",
    "start_unknown",
    "step_skipped",
    "table_found",
    "tries_again",
    "unused_folders",
    "weights_do_not_fit",
    "weights_not_finite",
    "wrapped_folder",
]

Warn = Callable[[WarningCode, str], None]
"""Takes a warning's code and its message."""

MEANINGS: Mapping[WarningCode, str] = {
    "archive_members": "Names of members of an archive repeat or lead out of it; they are left out.",
    "best_lost": "The best epoch's checkpoint is damaged or gone; the last one is evaluated instead.",
    "cache_full": "The cache folder has reached its limit and all of it is in use; new entries stay in memory.",
    "cache_memory_full": "Neither the cache folder nor memory has room; the rest is computed again in each epoch.",
    "cache_too_small": "The features need more than the cache may hold; the frozen prefix runs again in each epoch.",
    "cache_unusable": "The cache folder can't be read or written; features are computed again, or stay in memory.",
    "checkpoint_damaged": "A checkpoint does not match its checksums; the one before it is used.",
    "checkpoint_failed": "A checkpoint could not be written; earlier checkpoints are kept and training continues.",
    "class_missing": "A split has no image of a class, so the metrics leave that class out.",
    "column_not_used": "A column of the table looks like splits but holds other values; it is left out.",
    "commands_refused": "commands.jsonl belongs to someone else or others can write to it; no command is applied.",
    "data_changed": "Images were added or removed since the run began; added ones are left out of all splits.",
    "files_passed_over": "Files in the class folders are not images; they are counted by suffix.",
    "forgetting": "A stage lost much of its pretrained features in one epoch; a lower learning rate helps.",
    "group_suggested": "A column looks like groups, such as patients; data.group_column keeps a group in one split.",
    "groups_in_several_splits": "Images of one group are in several splits, so the metrics are too good.",
    "head_frozen": 'The new classifier is frozen and stays random; add "train head" to freeze.rules.',
    "leakage": "Near-duplicate images are in two splits, so the metrics are too good.",
    "log_waits": "Events can't be written and wait in memory; training continues.",
    "nested_classes": "Class folders hold further folders; data.class_depth chooses which name the class.",
    "not_cut": "The model could not be cut into frozen prefix and trainable suffix; frozen layers run in each epoch.",
    "not_written": "A file of the run, such as predictions.csv, could not be written; the run continues without it.",
    "out_of_memory": "A batch did not fit into memory; it goes through the model in smaller parts.",
    "own_splits_ignored": "data.split divides the images anew and leaves out the splits that the dataset comes with.",
    "random_layers_frozen": "Layers without pretrained weights are frozen and stay random.",
    "rolled_back": "A loss or gradient was non-finite; the run returned to its last checkpoint.",
    "rows_repeated": "Rows of the table name an image again; each image is used once.",
    "split_file_differs": "The file of data.split lacks images of the dataset, or names images that the dataset lacks.",
    "start_unknown": "The initial weights can't be made again, so weight change and forgetting are not measured.",
    "step_skipped": "A loss or gradient was non-finite; the step was skipped.",
    "table_found": "A folder or archive without class folders holds a table, which the labels are read from.",
    "tries_again": "Steps before a failure are computed again with the present settings.",
    "unused_folders": "Folders hold no images, no labels, or are not a split; they are left out.",
    "weights_do_not_fit": "Tensors of the weights file are missing, unexpected or of another shape.",
    "weights_not_finite": "The weights file holds NaN or infinity; load other weights.",
    "wrapped_folder": "The dataset lies in the only subfolder of data.path and is read from there.",
}
