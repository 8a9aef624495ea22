"""Prints what a process can see of its start, then ends as its argument says."""

import json
import os
import signal
import sys

if __name__ == "__main__":
    ending = sys.argv[1]
    streams = (sys.stdin, sys.stdout, sys.stderr)
    facts = {
        "torch is imported": "torch" in sys.modules,
        "arguments": sys.argv,
        "command line": open("/proc/self/cmdline").read().rstrip("\0"),  # noqa: SIM115
        "main module": __spec__.name if __spec__ else "",
        "folder": os.getcwd(),
        "umask": os.umask(0o022),
        "variables": sorted(set(os.environ.items()) - {("PYTEST_CURRENT_TEST", os.environ["PYTEST_CURRENT_TEST"])}),
        "parent": os.getppid(),
        "leads a session": os.getsid(0) == os.getpid(),
        "group of the parent": os.getpgid(0) == os.getpgid(os.getppid()),
        "blocked signals": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "ignored signals": sorted(n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN),
        "input": sys.stdin.read(),
        "streams": [(stream.fileno(), stream.encoding, stream.errors, stream.line_buffering) for stream in streams],
    }
    sys.stdout.write(json.dumps(facts))
    if ending == "interrupt":
        raise KeyboardInterrupt
    if ending == "error":
        raise ValueError(ending)
    sys.exit(int(ending) if ending.isdigit() else ending)
