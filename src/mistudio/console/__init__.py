"""The command line's floor: settings from flags, output as tables or JSON, and waiting for a job."""

from mistudio.console.console import Console, console_options, open_console

__all__ = ["Console", "console_options", "open_console"]
