"""A domain with one route for each way in which a request can go."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile
from pydantic import BaseModel, Field
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, insert, select, text
from starlette.responses import StreamingResponse

from mistudio.domain import Domain
from mistudio.errors import Conflict, NotFound
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, accepts_upload, paginate, problems

metadata = MetaData()
animals = Table(
    "sample_animals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(40)),
    Column("legs", Integer),
    Column("eats", ForeignKey("sample_animals.id", deferrable=True, initially="DEFERRED")),
)
router = APIRouter(prefix="/sample", tags=["sample"])
seen: list[int] = []


class Layer(BaseModel):
    width: int = Field(gt=0)


class Form(BaseModel):
    name: str
    layers: list[Layer] = []


class ScienceError(ValueError):
    """What the science floor raises: it knows no StudioError."""

    code = "torn_file"
    message = "The file shard-3 is torn."
    hint = "Harvest again."


@router.post("/form", response_model=Form, summary="Echo a form", responses=problems(409))
def post_form(form: Form) -> Form:
    return form


@router.get("/things/{name}", response_model=Form, summary="Raise", responses=problems(404, 409))
def get_thing(name: str) -> Form:
    if name == "taken":
        raise Conflict("name_taken", "The name is taken.", hint="Choose another.", fields={"name": "taken"})
    if name == "torn":
        raise ScienceError("torn")
    if name == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "/very/secret/path")
    if name == "crash":
        raise RuntimeError("secret-password in /very/secret/path")
    raise NotFound("thing", name)


@router.get("/broken-stream", summary="Break off in the middle")
def get_broken_stream() -> StreamingResponse:
    def body() -> Iterator[bytes]:
        yield b"x" * 1000
        raise RuntimeError("secret-password")

    return StreamingResponse(body(), headers={"Content-Length": "2000"})


@router.post("/upload", summary="Take a file")
@accepts_upload
def post_upload(file: Annotated[UploadFile, File()]) -> dict[str, int]:
    return {"bytes": len(file.file.read())}


@router.post("/animals/{name}", status_code=201, summary="Add an animal")
def post_animal(name: str, session: SessionDep, eats: int | None = None) -> dict[str, Any]:
    session.execute(insert(animals).values(name=name, legs=4, eats=eats))
    if name == "unicorn":
        raise Conflict("no_such_animal", "There are no unicorns.")
    return {"name": name}


@router.get("/animals", response_model=Page[str], summary="List animals", responses=problems(422))
def list_animals(session: ReadingDep, page: PageDep) -> Page[str]:
    return paginate(
        session,
        select(animals.c.name),
        page,
        sorts={"name": animals.c.name, "legs": animals.c.legs, "id": animals.c.id},
        default_sort="name",
        search=[animals.c.name],
    )


@router.get("/locked", summary="Ask whether a reader may write")
def get_locked(session: ReadingDep) -> dict[str, int]:
    return {"animals": session.scalar(text("SELECT count(*) FROM sample_animals")) or 0}


domain = Domain(name="sample", router="tests.web.sample:router")
