"""What a server spends on its clients: memory, places and time have an end."""

import io
import socket
import threading
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from adaptkit import create_method, pixels
from tests.conftest import CLASSES

pytest.importorskip("fastapi", reason="fastapi is not installed: the [serve] extra")

from tests.helpers.served import closed_by_server, head, served
from trainers.serving import app, connections
from trainers.serving.limits import MAX_PIXELS

LIMIT = 10_000_000


@pytest.fixture
def method(tiny_clip):
    return create_method("zero_shot", tiny_clip, CLASSES)


def png(mode: str, size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "PNG")
    return stream.getvalue()


def ask(address, data: bytes) -> bytes:
    with socket.create_connection(address, 30) as connection:
        connection.sendall(head(len(data)) + data)
        return connection.recv(65536)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16"])
def test_strips_change_no_pixel(mode, monkeypatch):
    numbers = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(numbers.integers(0, 65536, (37, 29), dtype=np.uint16))
    else:
        image = Image.fromarray(numbers.integers(0, 256, (37, 29, 4), dtype=np.uint8), "RGBA").convert(mode)
        image.info |= {"transparency": 3} if mode == "P" else {}
    whole = np.asarray(pixels.upright(image))
    monkeypatch.setattr(pixels, "STRIP_ROWS", 5)
    assert np.array_equal(np.asarray(pixels.upright(image)), whole)


def test_one_image_is_decoded_at_a_time(method, monkeypatch):
    inside, most, lock = 0, 0, threading.Lock()
    decode = app.open_upload

    def counted(data, max_bytes):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        image = decode(data, max_bytes)
        with lock:
            inside -= 1
        return image

    monkeypatch.setattr(app, "open_upload", counted)
    data, answers = png("RGB", (1500, 1500)), []
    with served(method, LIMIT) as address:
        threads = [threading.Thread(target=lambda: answers.append(ask(address, data))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == 1
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert len(answers) == 8


def test_an_image_above_the_pixel_limit_is_refused_before_it_is_decoded(method):
    data = png("L", (MAX_PIXELS // 5000 + 1, 5000))
    with served(method, LIMIT) as address:
        tracemalloc.start()
        answer = ask(address, data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert b" 413 " in answer
    assert peak < 20 * 2**20


@pytest.mark.parametrize("size", [LIMIT + 1, 10**15])
def test_an_upload_that_announces_too_much_is_refused_before_it_is_sent(method, size):
    with served(method, LIMIT) as address, socket.create_connection(address, 10) as connection:
        connection.sendall(head(size))
        assert b" 413 " in connection.recv(65536)


def test_a_server_without_room_says_so(method, monkeypatch):
    monkeypatch.setattr(app, "WAITING", 1)
    with served(method, LIMIT) as address, socket.create_connection(address, 10) as first:
        first.sendall(head(100) + b"a part")
        for _ in range(100):
            if b" 503 " in ask(address, png("RGB", (8, 8))):
                break
        else:
            pytest.fail("there was room for more")
        first.close()


def test_slow_clients_are_let_go_and_others_are_answered(method, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.5)
    with served(method, LIMIT) as address:
        slow = [socket.create_connection(address, 10) for _ in range(60)]
        for index, connection in enumerate(slow):
            if index % 3 == 1:
                connection.sendall(b"POST /predict HTTP/1.1\r\nHost: 127")
            elif index % 3 == 2:
                connection.sendall(head(1000) + b"x")
        assert all(closed_by_server(connection, 10) for connection in slow)
        assert ask(address, png("RGB", (8, 8))).startswith(b"HTTP/1.1 200")


def test_there_are_so_many_connections_and_no_more(method, monkeypatch):
    monkeypatch.setattr(connections, "CONNECTIONS", 5)
    with served(method, LIMIT) as address:
        opened = [socket.create_connection(address, 10) for _ in range(5)]
        assert not closed_by_server(opened[-1], 0.2)
        with socket.create_connection(address, 10) as further:
            assert closed_by_server(further, 10)
        for connection in opened:
            connection.close()


def test_a_client_that_leaves_in_the_middle_of_its_upload_leaves_no_trace(method, capfd):
    with served(method, LIMIT) as address:
        for sent in (b"", b"x", b"x" * 5000):
            with socket.create_connection(address, 10) as connection:
                connection.sendall(head(100_000) + sent)
        assert ask(address, png("RGB", (8, 8))).startswith(b"HTTP/1.1 200")
    assert "Traceback" not in capfd.readouterr().err
