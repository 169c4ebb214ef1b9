"""The guard says who is let in and what the page may load. It stands around the whole app, errors included.

A browser sends requests to this machine for any web page that asks it to. So every request must carry a cookie that
only the token in the printed address gives, must be meant for this machine by name (a foreign name that was made to
point here is turned away), and must come from no other page.
"""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NONCE = "probestore.nonce"
"""Key in the scope of a request. The browser runs only scripts and styles of the response that carry its value."""

_NAMES = {"127.0.0.1", "localhost"}
_REFUSED = "Open the address that `probestore dashboard` printed: the token in it lets you in.\n"


class Guard:
    """Let in the requests that may come in, and tell the browser with every response what it may load.

    Parameters
    ----------
    app : ASGI application
        The guarded application; it sees only requests that were let in.
    token : str
        The value that ``?token=`` must have.
    cookie : str
        Name of the cookie that the token is exchanged for. Cookies are not kept apart by port, so it should differ
        between two servers of one machine.
    """

    def __init__(self, app: ASGIApp, *, token: str, cookie: str) -> None:
        self._app = app
        self._token = token
        self._cookie = cookie
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"The dashboard speaks HTTP only. Got {scope['type']}.")
        nonce = scope[NONCE] = secrets.token_urlsafe(16)
        response = self._own_response(Request(scope)) or self._app
        await response(scope, receive, _with_headers(send, nonce))

    def _own_response(self, request: Request) -> Response | None:
        """Return the response to a request that must not reach the app; None for one that may."""
        if not _is_for_here(request):
            return PlainTextResponse("The dashboard is reached as 127.0.0.1 or localhost only.\n", status_code=403)
        if not _is_from_here(request):
            return PlainTextResponse("Only the dashboard's own page may send this request.\n", status_code=403)
        token = request.query_params.get("token")
        if token is not None and request.scope["path"] == "/" and _same(token, self._token):
            return self._welcome()
        if not _same(request.cookies.get(self._cookie, ""), self._session):
            return PlainTextResponse(_REFUSED, status_code=403)
        return None

    def _welcome(self) -> Response:
        """Exchange the token for a cookie, and remove the token from the address.

        Not by a redirect: where a file or another page sent the browser here, it would not send the strict cookie.
        """
        response = Response(headers={"refresh": "0; url=/"})
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict")
        return response


def _is_for_here(request: Request) -> bool:
    """Return whether the request names this machine; the port may be that of a tunnel."""
    host = request.headers.getlist("host")
    return len(host) == 1 and _name(host[0]) in _NAMES


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_from_here(request: Request) -> bool:
    """Return whether the request came from the dashboard's own page, as far as the browser says."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{request.headers['host']}":
        return False
    # Following a link from elsewhere to the page itself is no harm.
    return request.headers.get("sec-fetch-site") in (None, "same-origin", "none") or request.scope["path"] == "/"


def _same(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def _with_headers(send: Send, nonce: str) -> Send:
    """Return a `send` that adds the headers of every response."""
    allowed = f"'nonce-{nonce}'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src {allowed}; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = policy
            headers["cache-control"] = "no-store"
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "no-referrer"
            headers["cross-origin-opener-policy"] = "same-origin"
            headers["cross-origin-resource-policy"] = "same-origin"
        await send(message)

    return sending
