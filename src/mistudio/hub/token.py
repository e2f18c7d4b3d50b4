"""The access token for gated and private repositories: in the environment, or encrypted in the data folder.

`data_dir/secrets/key` is a Fernet key, `data_dir/secrets/hub_token` what it encrypts; both are readable by the
server's own user only (mode 0600). Whoever reads only the database, a backup without the key, or a log learns nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from mistudio.errors import StudioError
from mistudio.settings import Settings
from mistudio.store import atomic_file

TokenSource = Literal["settings", "environment", "stored"]


def hub_token(settings: Settings) -> str | None:
    """The token to use: of the settings, of HF_TOKEN, or the stored one. Raises StudioError `hub_token_unreadable`."""
    if settings.hf_token is not None:
        return settings.hf_token.get_secret_value() or None
    return os.environ.get("HF_TOKEN") or _stored(settings)


def token_source(settings: Settings) -> TokenSource | None:
    """Where the token that is used comes from; None when there is none."""
    if settings.hf_token is not None:
        return "settings" if settings.hf_token.get_secret_value() else None
    if os.environ.get("HF_TOKEN"):
        return "environment"
    return "stored" if _file(settings).is_file() else None


def store_token(settings: Settings, token: str) -> None:
    """Keep a token, encrypted. Raises StudioError `hub_token_invalid`, `DiskFull`."""
    from cryptography.fernet import Fernet

    token = token.strip()
    if not token or not token.isascii() or any(character.isspace() for character in token):
        raise StudioError(
            "hub_token_invalid",
            "This is not an access token.",
            hint="Copy it whole from the hub's settings; it begins with hf_.",
            status=422,
            fields={"token": "not a token"},
        )
    folder = _file(settings).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _key(settings)
    if key is None:
        key = Fernet.generate_key()
        _write(folder / "key", key)
    _write(_file(settings), Fernet(key).encrypt(token.encode()))


def forget_token(settings: Settings) -> bool:
    """Remove the stored token; whether there was one."""
    there = _file(settings).is_file()
    _file(settings).unlink(missing_ok=True)
    return there


def _stored(settings: Settings) -> str | None:
    from cryptography.fernet import Fernet, InvalidToken

    try:
        sealed = _file(settings).read_bytes()
    except FileNotFoundError:
        return None
    key = _key(settings)
    try:
        if key is None:
            raise InvalidToken
        return Fernet(key).decrypt(sealed).decode()
    except InvalidToken as error:
        raise StudioError(
            "hub_token_unreadable",
            "The stored hub token cannot be decrypted: its key is missing or another one.",
            hint="Store the token again, or forget it.",
        ) from error


def _key(settings: Settings) -> bytes | None:
    from cryptography.fernet import Fernet

    try:
        key = (_file(settings).parent / "key").read_bytes()
        Fernet(key)
    except (FileNotFoundError, ValueError):
        return None
    return key


def _file(settings: Settings) -> Path:
    return settings.data_dir / "secrets" / "hub_token"


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
