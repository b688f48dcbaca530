"""Watches the requests of an ASGI application: of Starlette, FastAPI, Django, Quart, under any server.

    app = PanopticonMiddleware(app, slower_than="250ms")
    app.add_middleware(PanopticonMiddleware, slower_than="250ms")       # Starlette, FastAPI
"""

import panopticon_rec

from . import request_ids

__all__ = ["PanopticonMiddleware"]


class PanopticonMiddleware:
    """An ASGI application (version 3) that passes all on to `app`, and watches each HTTP request, from its call to the
    end of its response.

    app: an ASGI application. response_header: name of a header that each response gets with the request's id, if it
    has one; None: no header. The other keywords are those of panopticon_rec.watch. The id is that of the request's
    header `traceparent` or `x-request-id`."""

    def __init__(self, app, slower_than=None, *, name="request", response_header=None, **keywords):
        self.app = app
        self._watch = panopticon_rec.watch(name, slower_than, **keywords)
        self._response_header = response_header.lower().encode("ascii") if response_header else None

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or not (self._watch._is_on or self._response_header):
            await self.app(scope, receive, send)
            return
        request_id = find_id(scope)
        watch = self._watch._renew()
        watch.id = request_id
        if self._response_header and request_id:
            send = add_header(send, self._response_header, request_id.encode("ascii"))
        with watch:
            await self.app(scope, receive, send)


def find_id(scope):
    """Return the id of a request, str or None. scope: of ASGI."""
    found = {}
    for name, value in scope.get("headers") or ():
        name = bytes(name).lower()
        if name in (b"traceparent", b"x-request-id"):
            found.setdefault(name, bytes(value).decode("latin-1"))
    return request_ids.find_request_id(found.get(b"traceparent"), found.get(b"x-request-id"))


def add_header(send, name, value):
    """Return the function `send` of ASGI, with a header that is added to the response unless it has it. name, value:
    bytes."""

    async def send_with_header(message):
        if message["type"] == "http.response.start":
            headers = list(message.get("headers") or ())
            if all(bytes(one).lower() != name for one, _ in headers):
                message = {**message, "headers": [*headers, (name, value)]}
        await send(message)

    return send_with_header
