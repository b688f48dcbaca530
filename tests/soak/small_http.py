"""HTTP as the soak tests need it: both ends of a connection on which one GET follows another.

    server = await asyncio.start_server(lambda *pair: small_http.serve(answer, *pair), sock=listener)
    body = await small_http.ask(reader, writer, "/7")
"""

import asyncio


async def serve(answer, reader, writer):
    """Answers until the connection is closed. answer: a coroutine function that makes the body of a path; both are text."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = (await answer(head.split(b" ", 2)[1].decode())).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def ask(reader, writer, path):
    """Returns the body. Raises IncompleteReadError or ConnectionError when the server closes the connection."""
    writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    return (await reader.readexactly(int(head.rsplit(b":", 1)[1]))).decode()
