"""A program on a terminal of its own, as a person at a screen and a keyboard has it."""
import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time


class Terminal:
    def __init__(self, command, env, width=80, height=24):
        self.parent, child = pty.openpty()
        self.size(width, height)
        self.seen, self.decoder = "", codecs.getincrementaldecoder("utf-8")()
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, env=env, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(child)

    def size(self, width, height):
        fcntl.ioctl(self.parent, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def read(self, seconds):
        if select.select([self.parent], [], [], seconds)[0]:
            try:
                self.seen += self.decoder.decode(os.read(self.parent, 65536))
            except OSError:
                return False
        return True

    def until(self, what, seconds=15):
        """Reads until `what` was shown, and forgets everything up to there."""
        end = time.monotonic() + seconds
        while what not in self.seen:
            assert time.monotonic() < end and self.read(0.2), (what, self.seen)
        at = self.seen.index(what) + len(what)
        before, self.seen = self.seen[:at], self.seen[at:]
        return before

    def key(self, text):
        os.write(self.parent, text.encode())

    def end(self, seconds=10):
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, self.seen
            self.read(0.05)
        while self.read(0) and select.select([self.parent], [], [], 0)[0]:
            pass
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.parent)
