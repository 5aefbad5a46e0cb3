"""Soak: thousands of good and hostile requests against `adaptkit serve` on the loopback; what memory does meanwhile.

    python -m benchmarks.soak --requests 10000

The server is a process of its own, and its memory is read from /proc: after a tenth of the requests, which is the
beginning, and after the last. What was measured is written to benchmarks/results/soak.json.
"""

import argparse
import http.client
import io
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import adaptkit

RESULT = Path(__file__).parent / "results" / "soak.json"
CLIENTS = 4
WARM_UP = 0.1  # Share of the requests before memory is first read.
LARGE, AT_ONCE = (7000, 7000), 8  # Images that are sent together at the end, with transparency.


def picture(kind: str, width: int, height: int, mode: str = "RGB") -> bytes:
    """An encoded image of noise, coarse enough to be small."""
    noise = np.random.default_rng(width * height).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise, "RGBA").resize((width, height)).convert(mode).save(stream, kind)
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG that announces many pixels and has none."""
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d" + header + zlib.crc32(header).to_bytes(4, "big")


GOOD = [
    picture("PNG", 64, 48),
    picture("JPEG", 640, 480),
    picture("WEBP", 320, 240),
    picture("PNG", 300, 200, "RGBA"),
    picture("GIF", 100, 100, "P"),
    picture("JPEG", 4000, 3000),
]
Send = Callable[[int, random.Random], object]


def post(port: int, body: bytes, query: str = "", **headers: str) -> int:
    """Send an image; returns the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", f"/predict{query}", body, {"Content-Type": "image/png"} | headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def leave(port: int, content: bytes) -> str:
    """Send something and go away."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(content)
    return "left"


def query(names: list[str]) -> str:
    return "?" + urllib.parse.urlencode([("classes", name) for name in names])


HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
KINDS: dict[str, Send] = {
    "good": lambda port, rng: post(port, rng.choice(GOOD[:-1])),
    "good, other classes": lambda port, rng: post(port, GOOD[0], query([f"thing {rng.randrange(1000)}", "dog"])),
    "good, twelve megapixels": lambda port, rng: post(port, GOOD[-1]) if rng.random() < 0.1 else post(port, GOOD[1]),
    "cut off": lambda port, rng: post(port, (image := rng.choice(GOOD[:-1]))[: rng.randrange(len(image))]),
    "noise": lambda port, rng: post(port, rng.randbytes(rng.randrange(5000))),
    "changed bytes": lambda port, rng: post(port, changed(rng.choice(GOOD[:-1]), rng)),
    "a bomb": lambda port, rng: post(port, bomb(2 ** rng.randrange(10, 31), 2 ** rng.randrange(10, 31))),
    "no image type": lambda port, rng: post(port, GOOD[0], **{"Content-Type": "text/html"}),
    "another host": lambda port, rng: post(port, GOOD[0], Host="evil.example"),
    "too many classes": lambda port, rng: post(port, GOOD[0], query([f"c{index}" for index in range(600)])),
    "a name too long": lambda port, rng: post(port, GOOD[0], query(["x" * rng.randrange(201, 2000)])),
    "topk out of range": lambda port, rng: post(port, GOOD[0], f"?topk={rng.choice(['0', '-1', 'x', '9' * 50])}"),
    "announces too much": lambda port, rng: leave(port, HEAD + b"Content-Length: 99999999999\r\n\r\nx"),
    "leaves in the middle": lambda port, rng: leave(port, HEAD + b"Content-Length: 100000\r\n\r\n" + GOOD[0]),
    "leaves before the head ends": lambda port, rng: leave(port, HEAD[: rng.randrange(len(HEAD))]),
    "no HTTP": lambda port, rng: leave(port, rng.randbytes(rng.randrange(1, 3000))),
    "a chunk that is none": lambda port, rng: leave(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
}  # fmt: skip


def changed(image: bytes, rng: random.Random) -> bytes:
    """An image with some bytes that are others."""
    content = bytearray(image)
    for _ in range(rng.randrange(1, 20)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def resident(pid: int, kind: str = "VmRSS") -> float:
    """Resident memory of a process in MB, now or, as VmHWM, at its most."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split(f"{kind}:")[1].split()[0]) / 1000


def large_at_once(port: int, pid: int) -> dict[str, object]:
    """Send large images together; the most memory that the server ever had is then that of their decoding."""
    image, answers = picture("PNG", *LARGE, "RGBA"), list[int]()
    senders = [threading.Thread(target=lambda: answers.append(post(port, image))) for _ in range(AT_ONCE)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    return {
        "large_images_at_once": AT_ONCE,
        "megapixels_of_each": LARGE[0] * LARGE[1] / 1e6,
        "answers": sorted(answers),
        "memory_mb_at_the_most": round(resident(pid, "VmHWM"), 1),
        "memory_mb_afterwards": round(resident(pid), 1),
    }


def soak(port: int, pid: int, requests: int) -> dict[str, object]:
    """Send the requests from several clients and read the server's memory."""
    numbers, lock, outcomes = iter(range(requests)), threading.Lock(), Counter[str]()
    memory: dict[int, float] = {}
    kinds = list(KINDS)
    begun = time.monotonic()

    def client() -> None:
        while True:
            with lock:
                number = next(numbers, None)
                if number is None:
                    return
                if number and number % (requests // 20) == 0:
                    memory[number] = resident(pid)
            kind = kinds[number % len(kinds)]
            try:
                outcome = KINDS[kind](port, random.Random(number))
            except (OSError, http.client.HTTPException) as error:
                outcome = type(error).__name__
            with lock:
                outcomes[f"{kind}: {outcome}"] += 1

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    first, last = memory[int(requests * WARM_UP)], resident(pid)
    return {
        "requests": requests,
        "clients": CLIENTS,
        "seconds": round(time.monotonic() - begun, 1),
        "memory_mb_at_the_beginning": round(first, 1),
        "memory_mb_at_the_end": round(last, 1),
        "growth_percent": round(100 * (last / first - 1), 2),
        "memory_mb_by_request": {str(number): round(value, 1) for number, value in sorted(memory.items())},
        "outcomes": dict(sorted(outcomes.items())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--out", type=Path, default=RESULT, help=f"default: {RESULT}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        backbone = adaptkit.load_backbone("adaptkit-mini")
        adaptkit.create_method("zero_shot", backbone, ["cat", "dog", "violin"]).save_pretrained(folder)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "adaptkit", "serve", folder, "--port", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            result = soak(port, server.pid, args.requests) | large_at_once(port, server.pid)
            assert post(port, GOOD[0]) == 200, "the server does not answer any more"
        finally:
            server.terminate()
            said = server.communicate(timeout=30)[1]
        result["lines_on_stderr"] = len(said.splitlines())
        result["traces_on_stderr"] = said.count("Traceback")
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key != "outcomes"}, indent=1))
    print(said[-2000:])


if __name__ == "__main__":
    main()
