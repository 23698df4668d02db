"""Stdin and stdout on a unix socket: an endpoint for clients that can only start a command."""

import os
import socket
import sys
import threading

CHUNK = 1 << 16


def copy_in(peer: socket.socket) -> None:
    while chunk := os.read(0, CHUNK):
        peer.sendall(chunk)
    peer.shutdown(socket.SHUT_WR)


def copy_out(peer: socket.socket) -> None:
    with open(1, "wb", buffering=CHUNK, closefd=False) as out:
        while chunk := peer.recv(CHUNK):
            out.write(chunk)
            out.flush()


def main() -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(sys.argv[1])
        threading.Thread(target=copy_in, args=(peer,), daemon=True).start()
        copy_out(peer)


if __name__ == "__main__":
    main()
