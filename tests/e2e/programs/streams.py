"""asyncio streams: a server and clients that take turns, line by line."""
import asyncio
import gc

gc.disable()


def answer(line):
    words = line.decode().split()
    return " ".join(sorted(word[::-1] for word in words)).encode() + b"\n"


async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(answer(line))
        await writer.drain()
    writer.close()


async def client(port, n):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    total = 0
    for k in range(n):
        writer.write(b"line %d of many\n" % k)
        total += len(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return total


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    total = 0
    for n in (400, 300, 200):
        total += await client(port, n)
    server.close()
    await server.wait_closed()
    return total


# Not in a function: how often the event loop goes round depends on time.
print(asyncio.run(main()))
