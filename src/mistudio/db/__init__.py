"""The database floor: engine, sessions, column types, ids, migrations. Knows no domain."""

from mistudio.db.base import Base, UTCDateTime, new_id, utc_now
from mistudio.db.engine import Database

__all__ = ["Base", "Database", "UTCDateTime", "new_id", "utc_now"]
