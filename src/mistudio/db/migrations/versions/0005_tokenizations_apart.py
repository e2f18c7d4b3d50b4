"""tokenizations: the column they read, and filters of their own

Revision 0005, after 0004.

Up: the text column, which was the data set's, is kept with each tokenization, and what leaves rows out moves into
`settings.filters`. Down: both go back. What the older schema cannot say (a new kind of packing, other filters, another
column) is laid aside within `statistics` and taken up again on the next way up, so that no way loses anything.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ASIDE = "of_a_later_version"
# What the older schema requires of statistics, for those that have nothing but what was laid aside.
_NO_FIGURES = {
    **dict.fromkeys(
        (
            "rows_read",
            "rows_used",
            "characters",
            "vocabulary_used",
            "special_tokens",
            "unknown_tokens",
            "padding_tokens",
        ),
        0,
    ),
    "dropped": {},
}
_OLD_SETTINGS = (
    "context_length",
    "packing",
    "eos_between_rows",
    "prepend_bos",
    "long_rows",
    "overlap",
    "min_tokens",
    "max_rows",
    "max_tokens",
)

_tokenizations = sa.table(
    "tokenizations",
    sa.column("id", sa.String),
    sa.column("dataset_id", sa.String),
    sa.column("text_column", sa.String),
    sa.column("settings", sa.JSON),
    sa.column("statistics", sa.JSON(none_as_null=True)),
)
_datasets = sa.table("datasets", sa.column("id", sa.String), sa.column("text_column", sa.String))


def upgrade() -> None:
    with op.batch_alter_table("tokenizations") as batch_op:
        batch_op.add_column(sa.Column("text_column", sa.String(length=400), nullable=True))
    for row in _rows():
        statistics = dict(row.statistics) if row.statistics is not None else None
        aside = statistics.pop(_ASIDE, None) if statistics else None
        if aside is not None:
            values = {**aside, "statistics": statistics if aside["counted"] else None}
            values.pop("counted")
        else:
            values = {"settings": newer(row.settings), "text_column": row.dataset_column}
        _change(row.id, values)


def downgrade() -> None:
    for row in _rows(_tokenizations.c.text_column):
        settings = older(row.settings)
        values: dict[str, Any] = {"settings": settings}
        if newer(settings) != row.settings or row.text_column != row.dataset_column:
            aside = {
                "settings": row.settings,
                "text_column": row.text_column,
                "counted": row.statistics is not None,
            }
            values["statistics"] = {**(row.statistics or _NO_FIGURES), _ASIDE: aside}
        _change(row.id, values)
    with op.batch_alter_table("tokenizations") as batch_op:
        batch_op.drop_column("text_column")


def newer(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the filters apart."""
    if "min_characters" not in settings:
        return settings
    rest = {name: value for name, value in settings.items() if name != "min_characters"}
    return {**rest, "filters": {"min_characters": settings["min_characters"]}}


def older(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that the older schema knows."""
    known = {name: settings[name] for name in _OLD_SETTINGS if name in settings}
    if known.get("packing") == "best_fit":
        known["packing"] = "one_per_row"
    least = (settings.get("filters") or {}).get("min_characters")
    return known if least is None else {**known, "min_characters": least}


def _rows(*more: sa.ColumnElement[Any]) -> list[Any]:
    columns = (_tokenizations.c.id, _tokenizations.c.settings, _tokenizations.c.statistics, *more)
    query = sa.select(*columns, _datasets.c.text_column.label("dataset_column")).join_from(
        _tokenizations, _datasets, _tokenizations.c.dataset_id == _datasets.c.id
    )
    return list(op.get_bind().execute(query))


def _change(id: str, values: dict[str, Any]) -> None:
    op.get_bind().execute(_tokenizations.update().where(_tokenizations.c.id == id).values(**values))
