"""Define the base class of errors that a user can do something about."""

from rsidiff_kedro.core.untrusted.text import printable, without_credentials


class InputError(ValueError):
    """An input that cannot be used; the message says what is wrong and what to change.

    The command line shows it as one line without a traceback. Text that it quotes from a file, a prompt or a server's
    answer cannot steer the terminal and holds no credentials.
    """

    def __str__(self) -> str:
        return printable(without_credentials(super().__str__()))
