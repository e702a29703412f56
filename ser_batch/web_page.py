"""A page that one of the servers shows: its files, with strict headers."""

from dataclasses import dataclass
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.responses import Response

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; media-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Only what the server itself sends is loaded, and nothing is kept."""
FILES = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}


@dataclass(frozen=True, slots=True)
class WebPage:
    """The files in the folder `page` of a package."""

    package: str

    def file(self, name: str) -> Response:
        """Return a file; the empty name is the page itself.

        Raises:
            HTTPException: there is no such file.
        """
        if name not in FILES:
            raise HTTPException(404, "nothing here")
        own, kind = FILES[name]
        data = (files(self.package) / "page" / own).read_bytes()
        return Response(data, media_type=kind, headers=HEADERS)
