# SPDX-License-Identifier: MIT
"""A serial port server, as ser2net is one: a TCP port in front of an emulated board's tty."""

import os
import select
import socket
import termios
import threading
import tty

CHUNK = 4096
PENDING_MAX = 65536


class Relay:
    """Nobody listens before `listen`, but the port is ours from the beginning: no other program
    gets its number."""

    def __init__(self, path, address="127.0.0.1"):
        self.path = path
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.reserve = self.bind((address, 0))
        self.address = self.reserve.getsockname()[:2]
        self.mute = False
        self.left = None  # bytes for the board, then the line is cut and nobody listens
        self.was_cut = threading.Event()
        self.thread = None
        self.ended, self.end = socket.socketpair()

    def name(self):
        form = "[%s]:%d" if self.family == socket.AF_INET6 else "%s:%d"
        return form % self.address

    def bind(self, address):
        s = socket.socket(self.family)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(address)
        return s

    def listen(self):
        """Until `leave`, or the cut."""
        self.leave()
        self.was_cut.clear()
        server = self.bind(self.address)
        server.listen()
        self.thread = threading.Thread(target=self.serve, args=(server,), daemon=True)
        self.thread.start()

    def cut_after(self, count):
        self.left = count

    def leave(self):
        if self.thread:
            self.end.send(b"x")
            self.thread.join()
            self.ended.recv(1)
        self.thread = None

    def close(self):
        self.leave()
        for s in (self.reserve, self.ended, self.end):
            s.close()

    # --- its thread ---

    def serve(self, server):
        with server:
            while not self.was_cut.is_set():
                if self.ended in select.select([server, self.ended], [], [])[0]:
                    return
                connection = server.accept()[0]
                with connection:
                    if self.mute:
                        self.swallow(connection)
                    else:
                        self.pass_on(connection)

    def swallow(self, connection):
        while True:
            ready = select.select([connection, self.ended], [], [])[0]
            try:
                if self.ended in ready or not connection.recv(CHUNK):
                    return
            except OSError:
                return

    def pass_on(self, connection):
        port = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            tty.setraw(port, termios.TCSANOW)
            connection.setblocking(False)
            self.pump(connection, port)
        except OSError:
            pass  # one of the two has gone
        finally:
            os.close(port)

    def pump(self, connection, port):
        to_board, to_host = b"", b""
        while True:
            readers = [self.ended]
            readers += [connection] if len(to_board) < PENDING_MAX else []
            readers += [port] if len(to_host) < PENDING_MAX else []
            writers = [port] if to_board else []
            writers += [connection] if to_host else []
            can_read, can_write, _ = select.select(readers, writers, [])
            if self.ended in can_read:
                return
            if port in can_write:
                to_board = to_board[self.write(port, to_board):]
            if self.left == 0:
                self.left = None
                self.was_cut.set()
                return
            if connection in can_write:
                to_host = to_host[connection.send(to_host):]
            if port in can_read:
                to_host += os.read(port, CHUNK)
            if connection in can_read:
                data = connection.recv(CHUNK)
                if not data:
                    return
                to_board += data

    def write(self, port, data):
        count = os.write(port, data[:self.left])
        if self.left is not None:
            self.left -= count
        return count
