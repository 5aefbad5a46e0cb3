"""Values as they are written on the command line."""


def listed_values(written: str) -> list[str | int]:
    """ "1,2,4" -> [1, 2, 4] and "coop,maple" -> ["coop", "maple"]."""
    values = [part.strip() for part in written.split(",") if part.strip()]
    return [int(value) if value.isdigit() else value for value in values]


def nothing_yet(count: int, things: str) -> str:
    """The last line of a removal that was only tried."""
    return f"nothing was removed; the same command with --yes removes these {count} {things}"
