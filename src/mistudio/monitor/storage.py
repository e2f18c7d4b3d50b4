"""How much of the disk each kind of data takes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from mistudio.monitor.schemas import KindBytes, StorageOut

KEEP_SECONDS = 30
_DATABASE = "mistudio.db"

_lock = threading.Lock()
_measured: dict[Path, StorageOut] = {}


def storage(data_dir: Path) -> StorageOut:
    """Bytes per kind (the folders of the data folder). Measured when asked, and kept for half a minute."""
    with _lock:
        kept = _measured.get(data_dir)
        if kept is None or time.time() - kept.measured_at > KEEP_SECONDS:
            kept = _measured[data_dir] = measure(data_dir)
        return kept


def measure(data_dir: Path) -> StorageOut:
    """Walk the data folder now."""
    from mistudio.store.folders import folder_bytes

    sizes: dict[str, int] = {}
    for entry in sorted(data_dir.iterdir()) if data_dir.is_dir() else []:
        if entry.is_dir() and not entry.is_symlink():
            kind, size = entry.name, folder_bytes(entry)
        else:
            try:
                kind = "database" if entry.name.startswith(_DATABASE) else "other"
                size = entry.lstat().st_size
            except FileNotFoundError:
                continue  # SQLite's write-ahead log comes and goes
        sizes[kind] = sizes.get(kind, 0) + size
    kinds = [KindBytes(kind=kind, bytes=size) for kind, size in sizes.items() if size]
    kinds.sort(key=lambda item: -item.bytes)
    return StorageOut(
        data_dir=str(data_dir), total=sum(item.bytes for item in kinds), kinds=kinds, measured_at=time.time()
    )
