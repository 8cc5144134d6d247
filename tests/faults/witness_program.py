"""The witness where no C compiler is: the same lines, ten times as slow to start."""

import os
import sys
import time


def say(file: str, word: str) -> None:
    """Append one line in one write."""
    known = [
        os.environ.get(name, "-")
        for name in ("MAHAVISHNU_RUN_ID", "MAHAVISHNU_ATTEMPT", "MAHAVISHNU_SCHEDULED_FOR")
    ]
    line = " ".join([*known, word, str(os.getpid()), str(time.monotonic_ns())]) + "\n"
    out = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(out, line.encode())
    os.close(out)


if __name__ == "__main__":
    say(sys.argv[1], "START")
    time.sleep(int(sys.argv[2]) / 1000)
    say(sys.argv[1], "END")
