"""A small asyncio HTTP server under load: takes orders as JSON, adds them up and answers with JSON.

The load comes from a process of its own (load.py), which is bounded in requests and in time. Loopback only.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys

LOOPS = 30
REQUESTS = 500      # of a loop
SECONDS = 60        # after which the server stops with an error
ANSWER = {}         # what load.py printed last


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Line:
    def __init__(self, item, count, price):
        if count < 1:
            raise Refused("400 Bad Request", f"{item}: {count} of them?")
        self.item, self.count, self.price = item, count, price

    def total(self):
        return self.count * self.price


class Order:
    def __init__(self, customer, lines):
        self.customer = customer
        self.lines = [Line(**line) for line in lines]

    def total(self):
        return sum(line.total() for line in self.lines)

    def discount(self):
        return self.total() // 20 if len(self.lines) > 5 else 0

    def answer(self):
        return {"customer": self.customer, "total": self.total() - self.discount(),
                "lines": {line.item: line.total() for line in self.lines}}


def take_order(body):
    return Order(**json.loads(body)).answer()


ROUTES = {("POST", "/orders"): take_order}


def parse(head):
    """Returns (method, path, headers)."""
    request, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, path, _ = request.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return method, path, headers


def respond(method, path, body):
    try:
        route = ROUTES.get((method, path))
        if not route:
            raise Refused("404 Not Found", path)
        status, answer = "200 OK", route(body)
    except Refused as error:
        status, answer = error.status, {"error": str(error)}
    text = json.dumps(answer).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text


async def serve(listener):
    """Serves until the load's last connection is closed."""
    n_open = 0
    is_over = asyncio.Event()

    async def connected(reader, writer):
        nonlocal n_open
        n_open += 1
        try:
            while True:
                method, path, headers = parse(await reader.readuntil(b"\r\n\r\n"))
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                writer.write(respond(method, path, body))
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()
        n_open -= 1
        if n_open == 0:
            is_over.set()

    async with await asyncio.start_server(connected, sock=listener):
        await asyncio.wait_for(is_over.wait(), SECONDS)


def once(loops):
    """Serves loops * REQUESTS requests; returns the seconds that they took, as load.py measured them."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        command = [sys.executable, "-I", "-S", os.path.join(os.path.dirname(os.path.abspath(__file__)), "load.py"),
                   str(listener.getsockname()[1]), str(loops * REQUESTS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as load:
            asyncio.run(serve(listener))
            ANSWER.update(json.loads(load.stdout.read()))
    return ANSWER["seconds"]
