"""Which bus a process uses follows from the settings alone."""

from __future__ import annotations

from mistudio.errors import StudioError
from mistudio.events.bus import EventBus
from mistudio.events.local import LocalBus
from mistudio.settings import Settings


def open_bus(settings: Settings) -> EventBus:
    """The bus for these settings: over Redis when `redis_url` is set, else within this process.

    Raises StudioError `redis_not_installed` or `redis_url_invalid`.
    """
    if settings.redis_url is None:
        return LocalBus()
    try:
        from mistudio.events.redis import RedisBus
    except ImportError as error:
        raise StudioError(
            "redis_not_installed",
            "The setting redis_url is set, but the package redis is not installed.",
            hint="Install miStudio with its cluster extra: pip install 'mistudio[cluster]'.",
        ) from error
    try:
        return RedisBus(settings.redis_url.get_secret_value())
    except ValueError as error:
        raise StudioError(
            "redis_url_invalid",
            "The setting redis_url is not the address of a Redis server.",
            hint="Use redis://host:6379/0, or rediss:// for TLS.",
        ) from error
