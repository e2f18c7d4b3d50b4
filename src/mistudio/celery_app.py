"""The worker of a cluster: `celery -A mistudio.celery_app worker --pool threads --queues gpu`."""

from __future__ import annotations

from mistudio.domains import all_domains, import_tables, job_kinds
from mistudio.events.opening import open_bus
from mistudio.jobs.celery import make_app, serve_jobs
from mistudio.jobs.kinds import register_kinds
from mistudio.settings import load_settings
from mistudio.training.archiving import archive_when_ended

_settings = load_settings().settings
_domains = all_domains(_settings.plugins)
import_tables(_domains)
register_kinds(job_kinds(_domains))

app = make_app(_settings)
serve_jobs(app, _settings, lambda: open_bus(_settings), beside=[archive_when_ended])
