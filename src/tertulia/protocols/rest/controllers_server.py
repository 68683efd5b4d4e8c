"""What is not of a person: health, figures, and the documents that describe the interface."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, get
from litestar.connection import Request
from litestar.params import PathParameter
from litestar.response import Response

from tertulia.domain.errors import not_found
from tertulia.protocols.rest.answers import HealthDoc, ReadyDoc
from tertulia.protocols.rest.context import VisitDependency
from tertulia.protocols.rest.docs_page import page_file

OPENAPI = "tertulia.openapi"
"""Where the application keeps its own document, in bytes."""


class ServerController(Controller):
    """Public, and outside of all limits but those of the two documents."""

    tags = ("Server",)

    @get("/healthz")
    async def health(self) -> HealthDoc:
        """The process is alive."""
        return HealthDoc()

    @get("/readyz")
    async def readiness(self, visit: VisitDependency) -> Response[ReadyDoc]:
        """Whether the server should get work; 503 says why not."""
        problems = dict(visit.services.problems())
        doc = ReadyDoc(status="not_ready" if problems else "ready", problems=problems)
        return Response(doc, status_code=503 if problems else 200)

    @get("/metrics", media_type="text/plain")
    async def metrics(self, visit: VisitDependency) -> Response[bytes]:
        """Figures in Prometheus's text format."""
        return Response(
            visit.services.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @get("/v1/openapi.json")
    async def get_openapi(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """This interface as an OpenAPI 3.1 document."""
        return Response(request.app.state[OPENAPI], media_type="application/json")

    @get("/v1/asyncapi.json")
    async def get_asyncapi(self, visit: VisitDependency) -> Response[bytes]:
        """The WebSocket as an AsyncAPI 3 document."""
        return Response(visit.services.asyncapi, media_type="application/json")

    @get("/docs", media_type="text/html")
    async def docs_page(self) -> Response[bytes]:
        """This interface to read and to try, as a page."""
        return await self._file("index.html")

    @get("/docs/{file:str}", media_type="text/plain")
    async def docs_file(
        self, file: Annotated[str, PathParameter(min_length=1, max_length=64)]
    ) -> Response[bytes]:
        """A part of the page."""
        return await self._file(file)

    async def _file(self, name: str) -> Response[bytes]:
        found = page_file(name)
        if found is None:
            raise not_found("page")
        return Response(found.data, media_type=found.media_type, headers=dict(found.headers))
