"""Whom we believe to be who they say they are: certificates are always verified, and names always compared.

One context serves all connections: loading the authorities takes tens of milliseconds, and megabytes for each copy.
"""

import ssl


class Trust:
    """`ca_file` holds the authorities to trust, in PEM, instead of the system's."""

    def __init__(self, ca_file: str | None = None) -> None:
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None
        self._nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def context(self, base_url: str) -> ssl.SSLContext:
        """
        Raises:
            OSError: the file cannot be read, or holds no certificate (ssl.SSLError).
        """
        if not base_url.lower().startswith("https:"):
            return self._nobody
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self._ca_file)
        return self._context
