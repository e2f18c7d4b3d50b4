"""`python -m mistudio.job_process JOB REPORT_FD ALIVE_FD`: the process of one job, for its supervisor."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mistudio.jobs.guard import die_with_supervisor

if TYPE_CHECKING:
    from mistudio.domain import JobKind


def main() -> None:
    """Run the job that the arguments name, with the settings that come through stdin."""
    job_id, report_fd, alive_fd = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    die_with_supervisor(alive_fd)

    from mistudio.domains import all_domains, import_tables, job_kinds
    from mistudio.jobs.context import Asked
    from mistudio.jobs.report import PipeReporter, listen_to, read_hello, take_requests_pipe
    from mistudio.jobs.runner import run
    from mistudio.settings import Settings

    reporter, asked = PipeReporter(report_fd), Asked()
    requests = take_requests_pipe()
    hello = read_hello(requests)
    listen_to(requests, asked)
    settings = Settings(**hello["settings"])

    def kinds() -> Mapping[str, JobKind]:
        domains = all_domains(settings.plugins)
        import_tables(domains)
        return job_kinds(domains)

    run(job_id, settings=settings, device=hello["device"], reporter=reporter, asked=asked, kinds=kinds)


if __name__ == "__main__":
    main()
