"""Puts load on server.py: load.py PORT REQUESTS [SECONDS]. Opens eight connections on loopback. Each sends its next request
when it has the answer. Prints as JSON the seconds that it took and the 99th percentile of the times from request to
answer. With SECONDS it sends requests for so long, and also prints when each was sent (time.perf_counter) and what it
took."""

import json
import select
import socket
import sys
import time

CONNECTIONS = 8
SECONDS = 50        # after which it stops with an error
BODY = json.dumps({"customer": "Ada", "lines": [{"item": f"thing {i}", "count": i, "price": 250 - i}
                                                for i in range(1, 9)]}).encode()
REQUEST = (b"POST /orders HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAccept: application/json\r\n"
           b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)) + BODY


def is_whole(answer):
    """True if the answer is complete. Raises ValueError for any status except success."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ValueError(f"answer {answer[:40]!r}")
    return end and len(body) == int(head.rpartition(b" ")[2])


def main():
    port, left = map(int, sys.argv[1:3])
    duration = float(sys.argv[3]) if len(sys.argv) > 3 else None
    poll = select.epoll()
    connections = {}
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections[connection.fileno()] = connection
        poll.register(connection, select.EPOLLIN)
    sent, parts, latencies = {}, dict.fromkeys(connections, b""), []
    start = time.perf_counter()
    for file in connections:
        sent[file] = time.perf_counter()
        connections[file].sendall(REQUEST)
    waiting, left = len(connections), left - len(connections)
    while waiting:
        if time.perf_counter() - start > (SECONDS if duration is None else duration + SECONDS):
            sys.exit("load.py: the server is too slow")
        for file, _ in poll.poll(1):
            data = connections[file].recv(1 << 16)
            if not data:
                sys.exit("load.py: the server closed a connection")
            parts[file] += data
            if not is_whole(parts[file]):
                continue
            parts[file] = b""
            now = time.perf_counter()
            latencies.append((now - sent[file], sent[file]))
            if left if duration is None else now < start + duration:
                left -= 1
                sent[file] = now
                connections[file].sendall(REQUEST)
            else:
                waiting -= 1
    seconds = time.perf_counter() - start
    latencies.sort()
    print(json.dumps({"seconds": seconds, "p99": latencies[len(latencies) * 99 // 100][0],
                      **({} if duration is None else {"times": [(when, taken) for taken, when in latencies]})}))


main()
