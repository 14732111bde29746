#!/usr/bin/env python3
"""A peer that does everything wrong: hostile_peer.py HOST PORT SECONDS [abort N].

Without `abort`: floods with connections that say nothing, garbage, half a greeting, another's greeting, TLS garbage,
greetings byte by byte, and resets, for SECONDS. With it: N times connects and resets, as fast as it can, then ends.
"""
import random
import select
import socket
import struct
import sys
import time

HOST, PORT, SECONDS = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
RESET = struct.pack("ii", 1, 0)
GREETING = b"netpool/1 " + b"0" * 32 + b"\n"
WORDS = [b"", b"GET / HTTP/1.0\r\n\r\n", b"netpool/1 ", GREETING, b"\x16\x03\x01\xff\xff" + b"\0" * 200,
         b"netpool/2 " + b"f" * 32 + b"\n", b"\0" * 4096, GREETING[:-1] + b"x", None]


def connect():
    sock = socket.socket()
    sock.setblocking(False)
    try:
        sock.connect((HOST, PORT))
    except BlockingIOError:
        pass
    return sock


def send(sock, word):
    try:
        if word is None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.close()
            return False
        if word:
            sock.send(word)
    except OSError:
        return False
    return True


def abort(count):
    done = 0
    while done < count:
        sock = socket.socket()
        try:
            sock.connect((HOST, PORT))
            done += 1
        except OSError:
            time.sleep(0.01)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()


def misbehave():
    sockets = []
    end = time.monotonic() + SECONDS
    made = 0
    while time.monotonic() < end:
        for _ in range(20):
            sockets.append(connect())
            made += 1
        _, ready, _ = select.select([], sockets, [], 0.01)
        for sock in ready:
            if not send(sock, random.choice(WORDS)):
                sockets.remove(sock)
                sock.close()
        while len(sockets) > 300:
            sockets.pop(random.randrange(len(sockets))).close()
        time.sleep(0.01)
    print(made)


if len(sys.argv) > 5:
    abort(int(sys.argv[5]))
else:
    misbehave()
