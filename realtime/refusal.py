"""Why a command does not begin: a sentence that whoever typed it can act on."""


class RefusalError(Exception):
    """The machine or the call is at fault, not Kith; shown as it is, without a traceback."""
