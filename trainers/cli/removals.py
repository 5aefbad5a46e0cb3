"""What the verbs that remove something say."""


def nothing_yet(count: int, things: str) -> str:
    """The last line of a removal that was only tried."""
    return f"nothing was removed; the same command with --yes removes these {count} {things}"
