"""The page at `/`: three files that ask the service's own addresses, without a build or anybody else's server."""

from importlib import resources

from fastapi import APIRouter
from fastapi.responses import Response

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
router = APIRouter(include_in_schema=False)


def _file(name: str, media_type: str) -> Response:
    body = (resources.files("hybridvae.service") / "static" / name).read_bytes()
    return Response(body, media_type=media_type, headers=_HEADERS)


@router.get("/")
def page() -> Response:
    """The page."""
    return _file("index.html", "text/html")


@router.get("/page.css")
def style() -> Response:
    """Its style."""
    return _file("page.css", "text/css")


@router.get("/page.js")
def script() -> Response:
    """Its script."""
    return _file("page.js", "text/javascript")
