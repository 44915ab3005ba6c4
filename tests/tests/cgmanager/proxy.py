"""A proxy of cgmanager's in a container: asks for itself, and passes on its child.

Arguments: the daemon's socket, a controller. Prints one line for each call.
"""

import os
import socket
import struct
import sys
import time

PATH, CONTROLLER = sys.argv[1:]


def field(code, kind, value):
    data = value.encode()
    size = bytes([len(data)]) if kind == "g" else struct.pack("<I", len(data))
    return bytes([code, 1]) + kind.encode() + b"\0" + size + data + b"\0"


def padded(data, to):
    return data + b"\0" * (-len(data) % to)


def message(serial, member, words):
    body = b""
    for word in words:
        body = padded(body, 4) + struct.pack("<I", len(word)) + word.encode() + b"\0"
    body = padded(body, 4) + struct.pack("<I", 0)
    fields = padded(field(1, "o", "/org/linuxcontainers/cgmanager"), 8)
    fields += padded(field(2, "s", "org.linuxcontainers.cgmanager0_0"), 8)
    fields += padded(field(3, "s", member), 8)
    fields += padded(field(8, "g", "s" * len(words) + "h"), 8)
    fields += bytes([9, 1]) + b"u\0" + struct.pack("<I", 1)
    head = b"l\1\0\1" + struct.pack("<III", len(body), serial, len(fields))
    return padded(head + fields, 8) + body


def receive(bus):
    head = bus.recv(16, socket.MSG_WAITALL)
    body, fields = struct.unpack("<I", head[4:8])[0], struct.unpack("<I", head[12:16])[0]
    bus.recv(fields + -fields % 8 + body, socket.MSG_WAITALL)
    return head[1]


def converse(bus, serial, member, words, passed):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    ours.settimeout(60)
    socket.send_fds(bus, [message(serial, member, words)], [theirs.fileno()])
    theirs.close()
    if receive(bus) != 2:
        return None
    for pid in passed:
        assert ours.recv(1) == b"1", "it asks"
        credentials = struct.pack("3i", pid, os.getuid(), os.getgid())
        ours.sendmsg([b"0"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)])
    return ours


def processes(ours):
    pids = []
    for _ in range(struct.unpack("i", ours.recv(4))[0]):
        _, control, _, _ = ours.recvmsg(1, 256)
        pids.append(struct.unpack("3i", control[0][2][:12])[0])
    return pids


bus = socket.socket(socket.AF_UNIX)
bus.connect(PATH)
bus.sendall(b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n")
lines = b""
while lines.count(b"\r\n") < 2:
    lines += bus.recv(1)
assert lines.startswith(b"OK ") and b"AGREE_UNIX_FD" in lines, lines

own, child = os.getpid(), os.fork()
if child == 0:
    time.sleep(600)
    os._exit(0)
try:
    place = [CONTROLLER, "a"]
    print("create", converse(bus, 1, "CreateScm", place, [own]).recv(1).decode())
    print("again", converse(bus, 2, "CreateScm", place, [own]).recv(1).decode())
    print("move", converse(bus, 3, "MovePidScm", place, [own, child]).recv(1).decode())
    where = converse(bus, 4, "GetPidCgroupScm", [CONTROLLER], [own, child]).recv(64)
    print("cgroup", where.rstrip(b"\0").decode())
    print("absolute", converse(bus, 5, "GetPidCgroupAbsScm", [CONTROLLER], [own, child]).recv(64).rstrip(b"\0").decode())
    print("tasks", processes(converse(bus, 6, "GetTasksScm", place, [own])) == [child])
    print("back", converse(bus, 7, "MovePidAbsScm", [CONTROLLER, "/"], [own, child]).recv(1).decode())
finally:
    os.kill(child, 9)
    os.waitpid(child, 0)
