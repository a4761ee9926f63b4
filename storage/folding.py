"""The form of e-mail addresses and usernames that is unique: case does not tell two of them apart."""


def folded(name: str) -> str:
    return name.casefold()
