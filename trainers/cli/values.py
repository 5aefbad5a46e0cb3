"""Values as they are written on the command line."""


def listed_values(written: str) -> list[str | int]:
    """ "1,2,4" -> [1, 2, 4] and "coop,maple" -> ["coop", "maple"]."""
    values = [part.strip() for part in written.split(",") if part.strip()]
    return [int(value) if value.isdigit() else value for value in values]
