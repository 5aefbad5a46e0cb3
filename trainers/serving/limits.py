"""What the server spends on its clients, all in one place; docs/security.md repeats the table."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 50_000_000  # Of one image; its decoding takes up to 0.6 GB.
DECODINGS = 1  # Images that are decoded at the same time; the others wait.
WAITING = 32  # Uploads that may be received, wait or be decoded; a further one is told to come back.
MAX_CLASSES, MAX_NAME = 500, 200  # Most names in a request, and most characters in a name.
MAX_TEXT, MAX_RESULTS = 1000, 100  # Most characters of a text that is searched, and most entries of an answer.
CONNECTIONS = 128  # Open connections; a further one is closed at once.
REQUEST_SECONDS = 20.0  # For the whole of a request to arrive, headers and image.
KEEP_ALIVE_SECONDS = 5  # Between two requests of one connection.
