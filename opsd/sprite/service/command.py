"""`opsd sprite-service`: from arguments and environment to the daemon with its face over TCP.

Where a daemon holds the home already, the service stands beside it: there is one supervisor for a home.
"""

from collections.abc import Mapping

from opsd import daemon, environ, settings
from opsd.disk import Disk
from opsd.exits import ExitCode
from opsd.sprite.service import options
from opsd.sprite.service.beside import serve_beside
from opsd.sprite.service.face import ServiceFace
from opsd.sprite.service.options import UnusableOptions
from opsd.sprite.service.token import Token, TokenUnusable
from opsd.store.holder import live_holder
from opsd.store.layout import Layout
from opsd.systemd import Systemd

OWN = ("host", "port", "token_file", "insecure_no_token")


def run(arguments: Mapping[str, object]) -> ExitCode:
    """The service's whole life. `arguments` are the parsed ones: our own, `config`, and settings of the daemon.

    Raises:
        SettingsError: it cannot be started like this.
    """
    variables = environ.variables()
    given = {name: value for name, value in arguments.items() if name not in (*OWN, "config")}
    config = arguments.get("config")

    def load() -> settings.Loaded:
        return settings.load(given, config=str(config) if config is not None else None, environment=variables)

    loaded = load()
    try:
        chosen = options.read(arguments, variables)
        token = Token(Disk(), path=chosen.token_file, value=None if chosen.insecure_no_token else chosen.token_variable)
        token.check()
    except (UnusableOptions, TokenUnusable) as error:
        raise settings.SettingsError([str(error)]) from None
    systemd = Systemd(environ.take_systemd_variables())
    holder = live_holder(Layout(loaded.settings.repo).lock)
    if holder is not None and holder.socket_path is not None:
        journal = variables.get("JOURNAL_STREAM")
        return serve_beside(loaded.settings, chosen, token, journal=journal, systemd=systemd)
    return daemon.run(loaded, reload=load, variables=variables, systemd=systemd, face=ServiceFace(chosen, token))
