"""A server that never reads its stdin and never says anything."""

import signal

while True:
    signal.pause()
