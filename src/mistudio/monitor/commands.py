"""`mistudio monitor`: the machine and the data folder on the command line."""

from __future__ import annotations

import time
from functools import partial

import typer

from mistudio.console import open_console
from mistudio.jobs import is_job

app = typer.Typer(no_args_is_help=True, help="See what the machine is doing and what the data folder holds.")


@app.command()
def system() -> None:
    """Measure processors, memory, disk, network, GPUs and job processes over one second."""
    from mistudio.monitor.readings import Machine

    with open_console() as console:
        machine = Machine(console.settings.data_dir, partial(is_job, console.database))
        machine.sample()
        time.sleep(1)
        sample = machine.sample()
        machine.close()
        console.emit(sample)


@app.command(name="storage")
def show_storage() -> None:
    """Show how much disk space each kind of data takes."""
    from mistudio.monitor.storage import measure

    with open_console(migrate=False) as console:
        console.emit(measure(console.settings.data_dir))
