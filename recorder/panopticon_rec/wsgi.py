"""Watches the requests of a WSGI application (PEP 3333): of Flask, Django, Bottle, under any server.

    app.wsgi_app = PanopticonMiddleware(app.wsgi_app, slower_than="250ms")      # Flask
    application = PanopticonMiddleware(get_wsgi_application(), slower_than="250ms")     # Django, in wsgi.py
"""

import sys

import panopticon_rec

from . import request_ids

__all__ = ["PanopticonMiddleware"]


class PanopticonMiddleware:
    """A WSGI application that passes all on to `app`, and watches each request, from its call to the end of its
    response: of an iterator, when the server closes it. What the server sends of a file or list is not part of it.

    app: a WSGI application. response_header: name of a header that each response gets with the request's id, if it has
    one; None: no header. The other keywords are those of panopticon_rec.watch. The id is that of the request's header
    `traceparent` or `x-request-id`."""

    def __init__(self, app, slower_than=None, *, name="request", response_header=None, **keywords):
        self.app = app
        self._watch = panopticon_rec.watch(name, slower_than, **keywords)
        self._response_header = response_header

    def __call__(self, environ, start_response):
        if not (self._watch._is_on or self._response_header):
            return self.app(environ, start_response)
        request_id = request_ids.find_request_id(environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_X_REQUEST_ID"))
        watch = self._watch._renew()
        watch.id = request_id
        if self._response_header and request_id:
            start_response = add_header(start_response, self._response_header, request_id)
        watch.__enter__()
        try:
            response = self.app(environ, start_response)
        except BaseException:
            watch.__exit__(*sys.exc_info())
            raise
        if isinstance(response, (list, tuple)) or is_file(response, environ):
            watch.__exit__(None, None, None)
            return response
        return Response(response, watch)


class Response:
    """The response of an application, whose section ends when the server closes it, or with the error that it raises."""

    def __init__(self, response, watch):
        self._response, self._watch = response, watch
        self._iterator = None

    def __iter__(self):
        return self

    def __next__(self):
        try:
            if self._iterator is None:
                self._iterator = iter(self._response)
            return next(self._iterator)
        except StopIteration:
            raise
        except BaseException:
            self._watch.__exit__(*sys.exc_info())       # and close() finds no section any more
            raise

    def close(self):
        try:
            if hasattr(self._response, "close"):
                self._response.close()
        except BaseException:
            self._watch.__exit__(*sys.exc_info())
            raise
        self._watch.__exit__(None, None, None)


def is_file(response, environ):
    """Return whether the server sends the response as a file, in a way of its own. It must know it as its own object,
    as it must know a list, whose length it takes."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(response, wrapper)


def add_header(start_response, name, value):
    """Return the function `start_response` of PEP 3333, with a header that is added unless there is one already."""

    def start_with_header(status, headers, *exc_info):
        if all(one.lower() != name.lower() for one, _ in headers):
            headers = [*headers, (name, value)]
        return start_response(status, headers, *exc_info)

    return start_with_header
