"""Files that machines append and read in bulk: atomic, checksummed, memory-mapped. Knows numpy only.

Arrays go in and out as numpy; bfloat16 is its bits as uint16 (`precision`).
"""

from mistudio.store.activations import ActivationCache, ActivationCacheWriter, TokenRows
from mistudio.store.arrays import ArrayFolder, write_arrays
from mistudio.store.atomic import FolderDraft, atomic_file, atomic_folder, sweep_temporaries
from mistudio.store.curves import MetricCurve, downsample, metric_curve
from mistudio.store.errors import (
    AlreadyThere,
    DiskFull,
    FolderDeleted,
    NotStorable,
    NotWritable,
    StoreError,
    TooFewTokens,
    TornFile,
    disk_errors,
)
from mistudio.store.examples import Examples, ExampleStore, LatentPage, write_examples
from mistudio.store.folders import delete_folder, empty_trash, folder_bytes, owner_folder, writable_folder
from mistudio.store.locks import FolderLock
from mistudio.store.manifest import FileEntry, verify
from mistudio.store.metrics import MetricLog, archive_metrics, read_metrics
from mistudio.store.precision import Precision, from_bfloat16, row_bytes, to_bfloat16
from mistudio.store.shards import is_finished
from mistudio.store.shuffle import ShuffledBatches
from mistudio.store.tokens import TokenStore, TokenStoreWriter

__all__ = [
    "ActivationCache",
    "ActivationCacheWriter",
    "AlreadyThere",
    "ArrayFolder",
    "DiskFull",
    "ExampleStore",
    "Examples",
    "FileEntry",
    "FolderDeleted",
    "FolderDraft",
    "FolderLock",
    "LatentPage",
    "MetricCurve",
    "MetricLog",
    "NotStorable",
    "NotWritable",
    "Precision",
    "ShuffledBatches",
    "StoreError",
    "TokenRows",
    "TokenStore",
    "TokenStoreWriter",
    "TooFewTokens",
    "TornFile",
    "archive_metrics",
    "atomic_file",
    "atomic_folder",
    "delete_folder",
    "disk_errors",
    "downsample",
    "empty_trash",
    "folder_bytes",
    "from_bfloat16",
    "is_finished",
    "metric_curve",
    "owner_folder",
    "read_metrics",
    "row_bytes",
    "sweep_temporaries",
    "to_bfloat16",
    "verify",
    "writable_folder",
    "write_arrays",
    "write_examples",
]
