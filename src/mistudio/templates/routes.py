"""What the web may ask about templates."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from mistudio.domain import load
from mistudio.errors import StudioError
from mistudio.models.announce import announce
from mistudio.templates import exchange, library
from mistudio.templates.kinds import checked, template_kinds
from mistudio.templates.schemas import (
    ImportReport,
    ImportRequest,
    TemplateCheck,
    TemplateCheckOut,
    TemplateCreate,
    TemplateExport,
    TemplateKindOut,
    TemplateOut,
    TemplateRestore,
    TemplateUpdate,
)
from mistudio.templates.tables import Template
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, StudioDep, paginate, problems

router = APIRouter(prefix="/templates", tags=["templates"])

Kind = Annotated[str | None, Query(max_length=40, description="Only those of this kind.")]
Favourite = Annotated[bool | None, Query(description="Only favourites, or only the others.")]


@router.get("", response_model=Page[TemplateOut], summary="List templates", responses=problems(422))
def list_templates(
    session: ReadingDep,
    page: PageDep,
    kind: Kind = None,
    favourite: Favourite = None,
    architecture: Annotated[
        str | None, Query(max_length=50, description="Only those whose settings name this architecture.")
    ] = None,
    builtin: Annotated[
        bool | None, Query(description="Only those that come with miStudio, or only the others.")
    ] = None,
) -> Page[TemplateOut]:
    """Favourites first unless sorted otherwise. `q` searches names and descriptions.

    `sort`: name, kind, architecture, favourite, builtin, uses, last_used_at, created_at, updated_at, id.
    """
    return paginate(
        session,
        library.list_query(kind, favourite, architecture=architecture, builtin=builtin),
        page,
        sorts={
            "name": Template.name,
            "kind": Template.kind,
            "architecture": Template.architecture,
            "builtin": Template.builtin.is_not(None),
            "favourite": Template.favourite,
            "uses": Template.uses,
            "last_used_at": Template.last_used_at,
            "created_at": Template.created_at,
            "updated_at": Template.updated_at,
            "id": Template.id,
        },
        default_sort="-favourite,name",
        search=[Template.name, Template.description],
        out=TemplateOut.model_validate,
    )


@router.post(
    "", response_model=TemplateOut, status_code=201, summary="Keep a template", responses=problems(409, 422)
)
def create_template(wanted: TemplateCreate, session: SessionDep, studio: StudioDep) -> TemplateOut:
    """The settings are checked against the schema of the kind, and defaults filled in."""
    template = library.add_template(session, wanted)
    announce(session, studio.events, "templates", template.id, "created")
    return TemplateOut.model_validate(template)


@router.get("/kinds", response_model=list[TemplateKindOut], summary="Kinds of templates")
def list_kinds(session: ReadingDep) -> list[TemplateKindOut]:
    """Each kind with the JSON schema of its settings."""
    architectures = library.architectures(session)
    return [
        TemplateKindOut(
            name=kind.name,
            title=kind.title,
            form=load(kind.schema).model_json_schema(),
            architectures=architectures.get(kind.name, []),
        )
        for kind in template_kinds()
    ]


@router.post(
    "/check", response_model=TemplateCheckOut, summary="Check settings as one types", responses=problems(422)
)
def check_template(wanted: TemplateCheck) -> TemplateCheckOut:
    """What keeping these settings as a template of this kind would be refused for; nothing is kept."""
    try:
        checked(wanted.kind, wanted.body)
    except StudioError as error:
        if error.code != "template_invalid":
            raise
        return TemplateCheckOut(errors=error.fields)
    return TemplateCheckOut(errors={})


@router.get(
    "/export", response_model=TemplateExport, summary="Export templates", responses=problems(404, 422)
)
def export_templates(
    session: ReadingDep,
    response: Response,
    id: Annotated[list[str] | None, Query(max_length=500, description="Only these.")] = None,
    kind: Kind = None,
    favourite: Favourite = None,
) -> TemplateExport:
    """A file with one, several or all templates, for `POST /templates/import`."""
    response.headers["Content-Disposition"] = 'attachment; filename="mistudio-templates.json"'
    return exchange.export_templates(library.chosen(session, id or [], kind, favourite))


@router.post(
    "/import/preview", response_model=ImportReport, summary="Preview an import", responses=problems(422)
)
def preview_import(request: ImportRequest, session: ReadingDep) -> ImportReport:
    """What would become of each row; nothing is written."""
    return exchange.import_templates(session, request, dry_run=True)[0]


@router.post("/import", response_model=ImportReport, summary="Import templates", responses=problems(409, 422))
def import_templates(request: ImportRequest, session: SessionDep, studio: StudioDep) -> ImportReport:
    """Valid rows are imported; the others are reported with what is wrong with them."""
    report, written = exchange.import_templates(session, request)
    for template in written:
        announce(session, studio.events, "templates", template.id, "created")
    return report


@router.get("/{template_id}", response_model=TemplateOut, summary="One template", responses=problems(404))
def show_template(template_id: str, session: ReadingDep) -> TemplateOut:
    """A template with its settings."""
    return TemplateOut.model_validate(library.get_template(session, template_id))


@router.put(
    "/{template_id}",
    response_model=TemplateOut,
    status_code=201,
    summary="Put a deleted template back",
    responses=problems(409, 422),
)
def restore_template(
    template_id: Annotated[str, Path(pattern=r"^tp_[0-9a-z]{8,29}$")],
    wanted: TemplateRestore,
    session: SessionDep,
    studio: StudioDep,
) -> TemplateOut:
    """Under its own id, with its uses: what undoes a deletion."""
    template = library.restore_template(session, template_id, wanted)
    announce(session, studio.events, "templates", template.id, "created")
    return TemplateOut.model_validate(template)


@router.patch(
    "/{template_id}",
    response_model=TemplateOut,
    summary="Change a template",
    responses=problems(404, 409, 422),
)
def change_template(
    template_id: str, change: TemplateUpdate, session: SessionDep, studio: StudioDep
) -> TemplateOut:
    """Rename it, describe it, make it a favourite, or change its settings."""
    template = library.change_template(session, template_id, change)
    announce(session, studio.events, "templates", template.id, "changed")
    return TemplateOut.model_validate(template)


@router.post(
    "/{template_id}/duplicate",
    response_model=TemplateOut,
    status_code=201,
    summary="Duplicate a template",
    responses=problems(404, 409),
)
def duplicate_template(template_id: str, session: SessionDep, studio: StudioDep) -> TemplateOut:
    """A copy under a free name."""
    template = library.duplicate_template(session, template_id)
    announce(session, studio.events, "templates", template.id, "created")
    return TemplateOut.model_validate(template)


@router.delete("/{template_id}", status_code=204, summary="Delete a template", responses=problems(404, 409))
def delete_template(template_id: str, session: SessionDep, studio: StudioDep) -> Response:
    """What was started from it stays. Refused for one that comes with miStudio."""
    library.delete_template(session, template_id)
    announce(session, studio.events, "templates", template_id, "deleted")
    return Response(status_code=204)
