"""The page at `/`, and the documentation at `/docs`: no build, and nothing of anybody else's server.

The page is three files that ask the service's own addresses. FastAPI's documentation would load its scripts from a
network that may not be there; this one is the same document as HTML, without a script.
"""

import json
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
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
_BOUNDS = {  # of OpenAPI's
    "minimum": "from {:g}",
    "maximum": "to {:g}",
    "minLength": "at least {} long",
    "maxLength": "at most {:,} long",
    "minItems": "at least {}",
    "maxItems": "at most {:,}",
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


@router.get("/docs")
def documentation(http: Request) -> Response:
    """What each address takes and gives, from the OpenAPI document."""
    from jinja2 import Environment, PackageLoader

    api = http.app.openapi()
    shapes = api["components"]["schemas"]

    def examples(about: dict[str, Any]) -> list[str]:
        body = about["requestBody"]["content"]["application/json"]["schema"]
        names = [one["$ref"].rpartition("/")[2] for one in body.get("oneOf", [body])]
        return [json.dumps(example) for name in names for example in shapes[name].get("examples", [])]

    addresses = {
        f"{method.upper()} {path}": about for path, methods in api["paths"].items() for method, about in methods.items()
    }
    environment = Environment(loader=PackageLoader("hybridvae"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.get_template("service.html.j2")
    body = template.render(api=api, addresses=addresses, examples=examples, bounds=_BOUNDS)
    return Response(body, media_type="text/html", headers=_HEADERS)
