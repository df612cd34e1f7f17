"""Echo servers as people write them in Python. `echo_server.py PORT [KIND] [HOST]`.

threads    a thread per connection
forks      socketserver's ForkingTCPServer: a process per connection, which the parent waits for
ignores    the same, but the parent ignores SIGCHLD, so that nobody waits for the children
eats       threads, and 200 ms after the first connection it takes memory, up to 2 GiB
burns      like forks, and each process uses 50 ms of CPU time when its connection has ended
"""
import os
import signal
import socket
import socketserver
import sys
import threading
import time

port = int(sys.argv[1])
kind = sys.argv[2] if len(sys.argv) > 2 else "threads"
host = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"


def eat():
    time.sleep(0.2)
    held = []
    for _ in range(64):
        held.append(b"x" * 2**25)
    time.sleep(60)


class Echo(socketserver.BaseRequestHandler):
    eating = None

    def handle(self):
        if kind == "eats" and Echo.eating is None:
            Echo.eating = threading.Thread(target=eat, daemon=True)
            Echo.eating.start()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                data = self.request.recv(65536)
                if not data:
                    return
                self.request.sendall(data)
        except ConnectionError:
            pass
        finally:
            end = time.process_time() + (0.05 if kind == "burns" else 0)
            while time.process_time() < end:
                pass


class Server(socketserver.ThreadingTCPServer if kind in ("threads", "eats") else socketserver.ForkingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    max_children = 10_000
    request_queue_size = 1024
    address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def collect_children(self, *, blocking=False):
        if kind != "ignores":
            super().collect_children(blocking=blocking)


if kind == "ignores":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with Server((host, port), Echo) as server:
    server.serve_forever()
