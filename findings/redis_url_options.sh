#!/bin/sh
# redis-py: options in a URL are on when they say "off", and "/1/2" is database 12.
#
# Packages: redis 8.1.0
# Expected: "?decode_responses=false" turns the option off, and "?socket_keepalive=false", which it
#     does, shows that booleans are understood. A path that is no number of a database is an error.
# Seen: only some options have a parser. The others keep their text, and any text is true: answers
#     are decoded with decode_responses=false and 0. A path loses all its slashes before it is read:
#     "/1/2" selects database 12; "/cache" selects 0 without a word.
# Matters: the URL is what a deployment sets. Tasks get str where they had bytes, or write to a
#     database that nobody named, and each start looks well.
# Source: redis/connection.py, URL_QUERY_ARGUMENT_PARSERS and parse_url.
#
# Output:
#     redis 8.1.0
#     redis://HOST/0                           GET answers b'hello', database 0
#     redis://HOST/0?decode_responses=true     GET answers 'hello', database 0
#     redis://HOST/0?decode_responses=false    GET answers 'hello', database 0
#     redis://HOST/0?decode_responses=0        GET answers 'hello', database 0
#     redis://HOST/0?socket_keepalive=false    GET answers b'hello', database 0, socket_keepalive False
#     redis://HOST/1/2                         GET answers b'hello', database 12
#     redis://HOST/cache                       GET answers b'hello', database 0
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0
cd "$work"
venv/bin/python - <<'END'
import socketserver
import sys
import threading

import redis

selected = []


class Server(socketserver.StreamRequestHandler):
    """Speaks as much of the Redis protocol (RESP 2) as a GET needs."""

    def handle(self):
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2])
            if words[0] == b"SELECT":
                selected.append(int(words[1]))
            self.wfile.write(b"$5\r\nhello\r\n" if words[0] == b"GET" else b"+OK\r\n")


server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()


def get(rest):
    """What GET answers, the database that was selected (0: none), and the keep-alive option."""
    selected.clear()
    mark = "&" if "?" in rest else "?"
    url = f"redis://127.0.0.1:{server.server_address[1]}{rest}{mark}protocol=2"
    with redis.Redis.from_url(url) as client:
        keepalive = client.get_connection_kwargs().get("socket_keepalive")
        return client.get("key"), selected[0] if selected else 0, keepalive


expected = {
    "/0": (b"hello", 0),
    "/0?decode_responses=true": ("hello", 0),
    "/0?decode_responses=false": ("hello", 0),
    "/0?decode_responses=0": ("hello", 0),
    "/0?socket_keepalive=false": (b"hello", 0),
    "/1/2": (b"hello", 12),
    "/cache": (b"hello", 0),
}
print("redis", redis.__version__)
seen = {}
for rest in expected:
    answer, database, keepalive = get(rest)
    seen[rest] = (answer, database)
    extra = f", socket_keepalive {keepalive}" if "keepalive" in rest else ""
    print(f"redis://HOST{rest:28} GET answers {answer!r}, database {database}{extra}")
server.shutdown()
if seen != expected:
    sys.exit(f"CHANGED: expected {expected}")
END
