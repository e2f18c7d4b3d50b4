"""Files and folders on this machine that a person names: where they may lie and how they may be wrong."""

from __future__ import annotations

import os
from pathlib import Path

from mistudio.errors import StudioError
from mistudio.settings import Settings


def local_path(settings: Settings, path: str, *, any_folder: bool) -> Path:
    """The absolute path of something that exists and may be read.

    The web (`any_folder` false) reaches only what lies below `settings.import_folders`, links resolved.
    Raises StudioError `path_not_allowed`, `path_not_found`, `path_not_readable`.
    """
    try:
        resolved = Path(path).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise StudioError(
            "path_not_found", f"“{path}” is not a path.", fields={"path": "not a path"}
        ) from error
    if not any_folder:
        allowed = [folder.expanduser().resolve() for folder in settings.import_folders]
        if not any(resolved.is_relative_to(folder) for folder in allowed):
            where = ", ".join(str(folder) for folder in settings.import_folders)
            raise StudioError(
                "path_not_allowed",
                f"“{path}” is not in a folder that the web interface may import from.",
                hint=f"Allowed: {where}."
                if where
                else "Upload the file, use the command line, or name its folder in "
                "the setting import_folders.",
                status=403,
                fields={"path": "not allowed"},
            )
    if not resolved.exists():
        raise StudioError(
            "path_not_found",
            f"There is nothing at “{path}”.",
            hint="Check the spelling; a relative path counts from the folder the command or server was started in.",
            fields={"path": "does not exist"},
        )
    if not os.access(resolved, os.R_OK):
        raise StudioError(
            "path_not_readable",
            f"“{path}” may not be read by this user.",
            hint="Change its permissions.",
            fields={"path": "not readable"},
        )
    return resolved


def local_file(settings: Settings, path: str, *, any_folder: bool) -> Path:
    """As `local_path`, and it is a file with content. Raises also `not_a_file`, `file_empty`."""
    resolved = local_path(settings, path, any_folder=any_folder)
    if not resolved.is_file():
        raise StudioError("not_a_file", f"“{path}” is a folder, not a file.", fields={"path": "not a file"})
    if resolved.stat().st_size == 0:
        raise StudioError("file_empty", f"The file “{path}” is empty.", fields={"path": "empty"})
    return resolved


def local_folder(settings: Settings, path: str, *, any_folder: bool) -> Path:
    """As `local_path`, and it is a folder. Raises also `not_a_folder`."""
    resolved = local_path(settings, path, any_folder=any_folder)
    if not resolved.is_dir():
        raise StudioError(
            "not_a_folder", f"“{path}” is a file, not a folder.", fields={"path": "not a folder"}
        )
    return resolved
