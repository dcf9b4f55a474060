"""The base of the errors that a user can do something about."""


class InputError(ValueError):
    """What was given cannot be worked with; the message says what was wrong and what to change.

    On the command line it is shown as one line, without a traceback.
    """
