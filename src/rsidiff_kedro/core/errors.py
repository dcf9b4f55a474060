"""The base of the errors that a user can do something about."""

from rsidiff_kedro.core.untrusted.text import printable, without_credentials


class InputError(ValueError):
    """What was given cannot be worked with; the message says what was wrong and what to change.

    On the command line it is shown as one line, without a traceback. Whatever it quotes of a file, a prompt or a
    server's answer cannot steer the terminal, and holds no credentials.
    """

    def __str__(self) -> str:
        return printable(without_credentials(super().__str__()))
