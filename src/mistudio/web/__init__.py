"""The web floor: what every domain's routes share. Knows no domain."""

from mistudio.web.limits import accepts_upload
from mistudio.web.paging import Page, PageDep, PageRequest, paginate
from mistudio.web.problems import Problem, problems
from mistudio.web.studio import Publisher, ReadingDep, SessionDep, SettingsDep, Studio, StudioDep

__all__ = [
    "Page",
    "PageDep",
    "PageRequest",
    "Problem",
    "Publisher",
    "ReadingDep",
    "SessionDep",
    "SettingsDep",
    "Studio",
    "StudioDep",
    "accepts_upload",
    "paginate",
    "problems",
]
