"""Say what is wrong with the variables that every HTTP client reads: of proxies and of certificates."""

import os
import re

from rsidiff_kedro.core.untrusted.text import printable

VARIABLES = (
    "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_DIR", "SSL_CERT_FILE", "SSLKEYLOGFILE",
)  # fmt: skip
"""Those of proxies are read in small letters too."""
_USER = re.compile(r"(?<=://).*@|^(?!.*://).*@", re.DOTALL)
"""In the address of a proxy, which may come without `http://`, and whose password may hold any character."""


def client_problem(error: Exception) -> str:
    """Say why no HTTP client can be made, which depends on variables of the environment alone; no password is shown.

    Args:
        error: what the client's class raised; its message may quote a part of a password and is left out.
    """
    read = {name: _USER.sub("***@", value) for name, value in os.environ.items() if name.upper() in VARIABLES}
    listed = ", ".join(f"{name}={printable(value)!r}" for name, value in sorted(read.items()))
    install = "install socksio (pip) for a SOCKS proxy, or " * isinstance(error, ImportError)
    return f"no HTTP client can be made ({type(error).__name__}); {install}correct or unset the wrong one of {listed}"
