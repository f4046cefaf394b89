# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ASYNC109
"""Runs inside private namespaces and does what the tests ask: commands, servers, probes in any netns.

One JSON object per line on stdin, one answer per line on stdout. Ends with stdin; its PID namespace takes
everything that it started along.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import json
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

_libc = ctypes.CDLL(None, use_errno=True)
_thread = ThreadPoolExecutor(1)
_servers: list[object] = []
_held: dict[int, socket.socket] = {}


def _socket(netns: str | None, family: int, kind: int) -> socket.socket:
    def make() -> socket.socket:
        path = f"/run/netns/{netns}" if netns else f"/proc/{os.getpid()}/ns/net"
        fd = os.open(path, os.O_RDONLY)
        if _libc.setns(fd, 0x40000000):
            raise OSError(ctypes.get_errno(), f"setns {netns}")
        os.close(fd)
        sock = socket.socket(family, kind)
        sock.setblocking(False)
        return sock

    return _thread.submit(make).result()


def _family(ip: str) -> int:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


async def run(argv, stdin="", netns=None):
    if netns:
        argv = ["nsenter", f"--net=/run/netns/{netns}", *argv]
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate(base64.b64decode(stdin))
    return [process.returncode, base64.b64encode(out).decode(), base64.b64encode(err).decode()]


async def _tcp(name, reader, writer):
    try:
        writer.write(f"{name} {writer.get_extra_info('peername')[0]}\n".encode())
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def _http(name, reader, writer):
    try:
        while line := await reader.readline():
            headers, length = [], 0
            while (header := await reader.readline()).strip():
                headers.append(header.decode().strip())
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            await reader.readexactly(length)
            body = json.dumps(
                {
                    "name": name,
                    "request": line.decode().strip(),
                    "peer": writer.get_extra_info("peername")[0],
                    "headers": headers,
                }
            ).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, name):
        self.name = name

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        self.transport.sendto(f"{self.name} {peer[0]}\n".encode() + data, peer)


async def serve(netns, name, port, kind="tcp", ip="0.0.0.0"):
    loop = asyncio.get_running_loop()
    datagram = kind == "udp"
    sock = _socket(netns, _family(ip), socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((ip, port))
    if datagram:
        transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(name), sock=sock)
        _servers.append(transport)
        return True
    sock.listen(256)
    handler = _http if kind == "http" else _tcp
    _servers.append(await asyncio.start_server(lambda r, w: handler(name, r, w), sock=sock))
    return True


async def probe(netns, ip, port, kind="tcp", timeout=0.5, size=0, source_port=0):
    """One attempt: {"verdict": open|refused|timeout|unreachable, "text": first line of the answer}."""
    loop = asyncio.get_running_loop()
    sock = _socket(netns, _family(ip), socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    try:
        if source_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", source_port))

        async def talk():
            await loop.sock_connect(sock, (ip, port))
            if kind == "udp":
                await loop.sock_sendall(sock, b"hello")
                return await loop.sock_recv(sock, 65536)
            text = b""
            while b"\n" not in text:
                text += await loop.sock_recv(sock, 65536) or b"(closed)\n"
            if size:
                payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
                sender = asyncio.ensure_future(loop.sock_sendall(sock, payload))
                back = text.split(b"\n", 1)[1]
                while len(back) < size:
                    data = await loop.sock_recv(sock, 1 << 18)
                    if not data:
                        return b"(short)\n"
                    back += data
                await sender
                if back != payload:
                    return b"(corrupt)\n"
            return text

        begin = loop.time()
        try:
            answer = await asyncio.wait_for(talk(), timeout)
            line = answer.split(b"\n")[0].decode()
            return {"verdict": "open", "text": line, "seconds": loop.time() - begin}
        except TimeoutError:
            return {"verdict": "timeout", "text": ""}
        except ConnectionRefusedError:
            return {"verdict": "refused", "text": ""}
        except ConnectionResetError:
            return {"verdict": "reset", "text": ""}
        except OSError as error:
            return {"verdict": "unreachable", "text": str(error)}
    finally:
        sock.close()


async def hold(netns, ip, port, count=1, timeout=0.5):
    """Open connections and keep them; how many came about."""
    loop = asyncio.get_running_loop()

    async def one():
        sock = _socket(netns, _family(ip), socket.SOCK_STREAM)
        try:
            await asyncio.wait_for(loop.sock_connect(sock, (ip, port)), timeout)
            await asyncio.wait_for(loop.sock_recv(sock, 4096), timeout)
        except (OSError, TimeoutError):
            sock.close()
            return None
        _held[sock.fileno()] = sock
        return sock.fileno()

    return [fd for fd in await asyncio.gather(*(one() for _ in range(count))) if fd is not None]


async def poke(fd, timeout=0.5, close=False):
    """Send a byte over a held connection: whether it came back."""
    loop = asyncio.get_running_loop()
    sock = _held[fd]
    try:
        await loop.sock_sendall(sock, b"x")
        return (await asyncio.wait_for(loop.sock_recv(sock, 10), timeout)) == b"x"
    except (OSError, TimeoutError):
        return False
    finally:
        if close:
            _held.pop(fd).close()


async def http(netns, ip, port, requests, timeout=2.0):
    """Requests over one connection: a list of [status, body] or [verdict, ""]."""
    loop = asyncio.get_running_loop()
    sock = _socket(netns, _family(ip), socket.SOCK_STREAM)
    results = []
    try:
        await asyncio.wait_for(loop.sock_connect(sock, (ip, port)), timeout)
        reader, writer = await asyncio.open_connection(sock=sock)
        for request in requests:
            method, path = request["method"], request["path"]
            lines = [f"{method} {path} HTTP/1.1", f"host: {request.get('host', 'server')}"]
            lines += request.get("headers", [])
            if method in ("POST", "PUT"):
                lines.append("content-length: 0")
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

            async def answer(method=method):
                status = (await reader.readuntil(b"\r\n")).split()
                length = 0
                while header := (await reader.readuntil(b"\r\n")).strip().lower():
                    if header.startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                body = await reader.readexactly(0 if method == "HEAD" else length)
                return [int(status[1]), body.decode()]

            results.append(await asyncio.wait_for(answer(), timeout))
        writer.close()
    except TimeoutError:
        results.append(["timeout", ""])
    except ConnectionRefusedError:
        results.append(["refused", ""])
    except ConnectionResetError:
        results.append(["reset", ""])
    except asyncio.IncompleteReadError:
        results.append(["closed", ""])
    return results


OPS = {"run": run, "serve": serve, "probe": probe, "hold": hold, "poke": poke, "http": http}


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def handle(request):
        try:
            value = await OPS[request["op"]](**request["args"])
            answer = {"id": request["id"], "value": value}
        except Exception as error:
            answer = {"id": request["id"], "error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    tasks = set()
    while line := await reader.readline():
        task = asyncio.create_task(handle(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
