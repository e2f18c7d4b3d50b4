"""Templates: settings that people keep under a name, of every kind in one table."""

from mistudio.domain import Domain

domain = Domain(
    name="templates",
    tables="mistudio.templates.tables",
    router="mistudio.templates.routes:router",
    commands="mistudio.templates.commands:app",
)
