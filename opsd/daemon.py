"""The composition root: the one place that reads settings, opens what is outside, and joins the parts of the daemon.

Start: lock the home, restore, listen, ready. Stop: the same backwards, bounded. What the parts do is theirs.
"""

import faulthandler
import gc
import grp
import os
import signal
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from opsd import VERSION, logs, settings
from opsd.api.app import build_app
from opsd.api.peer import Access
from opsd.api.server import serve as serve_api
from opsd.app.queries import FileQueries
from opsd.clock import SystemClock
from opsd.controls.host import HostControls
from opsd.core.pace import Pace
from opsd.core.reconcile import Rules
from opsd.disk import Disk
from opsd.exits import ExitCode
from opsd.listener import Listener, ListenerError, SocketInUse
from opsd.model.observation import ProcessSighting
from opsd.model.oneshot import DriftOptions
from opsd.model.transport import TransportMode
from opsd.ports import Processes, Transport
from opsd.processes import ProcFs, boot_id
from opsd.services.http import HttpServices
from opsd.services.lent import lent
from opsd.services.tokens import Tokens
from opsd.services.trust import Trust
from opsd.settings import Loaded, Settings, SettingsError
from opsd.store.faults import StoreError
from opsd.store.holder import Holder
from opsd.store.layout import Layout
from opsd.store.lock import HomeLock, HomeLocked
from opsd.store.store import Store
from opsd.supervisor.offload import Threads as WorkerThreads
from opsd.supervisor.oneshots import Outward
from opsd.supervisor.services import GaveUp
from opsd.supervisor.supervisor import Remote, Supervisor, Threads, Tuning
from opsd.systemd import Systemd
from opsd.transports.local import LocalTransport
from opsd.transports.service import RoutedTransport, ServiceTransport
from opsd.transports.sweep import Pace as SweepPace
from opsd.transports.sweep import Sweep
from opsd.transports.tail import Limits
from opsd.transports.watch import Watch

STOP_LIMIT_S = 4.5
"""After that the process ends whatever still hangs: nothing that matters is lost by it."""
LOCK_WAIT_S = 5.0
"""A one-shot command that works on the home is waited for; another daemon is not."""
# So many threads may hang in a disk before others find no place; how many run at once is a setting.
_PASS_THREADS = 64
_QUERY_THREADS = 4
_SERVICE_THREADS = 2
_TIDY_EVERY_S = 20.0
_CLOSE_WITHIN_S = 1.0

Reload = Callable[[], Loaded]


class Parts(msgspec.Struct, frozen=True):
    """The running daemon, for a face that it shows beside its control socket. `transport` makes one without memory."""

    home: str
    supervisor: Supervisor
    queries: FileQueries
    files: Disk
    transport: Callable[[], LocalTransport]
    clock: SystemClock


class Face(Protocol):
    """Another way to ask the daemon than its control socket: opened before anything is promised, served until the stop.

    One that shows a single checkout to others (`is_home_alone`) has the daemon supervise what lies in its home.
    """

    is_home_alone: bool

    def open(self) -> None:
        """
        Raises:
            ListenerError: it cannot be had; no daemon then.
        """

    async def serve(self, parts: Parts, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Until cancelled; `started` once it is there."""

    def close(self) -> None:
        """However far it came."""


def run(
    loaded: Loaded, *, reload: Reload, variables: Mapping[str, str], systemd: Systemd, face: Face | None = None
) -> ExitCode:
    """The daemon's whole life. `reload` reads the settings again; of `variables` only JOURNAL_STREAM is looked at."""
    faulthandler.enable()  # what a watchdog kills tells where it hung
    given = loaded.settings
    layout = Layout(given.repo)
    _configure_logs(given, variables)
    log = logs.logger()
    log.info("daemon.starting", version=VERSION, home=layout.home, pid=os.getpid(), socket=given.socket)
    for name in loaded.unknown:
        log.warning("settings.unknown", variable=name)
    daemon = _Daemon(loaded, reload=reload, variables=variables, systemd=systemd, layout=layout, face=face)
    try:
        with _lock(layout, given.socket):
            anyio.run(daemon.run)
    except (HomeLocked, SocketInUse) as error:
        return _refuse(error, ExitCode.LOCKED)
    except (StoreError, ListenerError) as error:
        return _refuse(error, ExitCode.UNUSABLE)
    except Exception as error:
        daemon.code = ExitCode.FAULT
        log.critical("daemon.failed", exc_info=error)
    daemon.last_resort.cancel()
    log.info("daemon.stopped", code=int(daemon.code))
    if daemon.threads_hang:
        # Python would wait for threads that hang in a disk, for as long as they do.
        _end_now(daemon.code)
    return daemon.code


class _Daemon:
    """From the locked home to the last word. `code` is what the process ends with."""

    def __init__(
        self,
        loaded: Loaded,
        *,
        reload: Reload,
        variables: Mapping[str, str],
        systemd: Systemd,
        layout: Layout,
        face: Face | None,
    ) -> None:
        self.code = ExitCode.OK
        self.threads_hang = False
        self.last_resort = threading.Timer(STOP_LIMIT_S, _end_now, [ExitCode.UNWRITTEN])
        self.last_resort.daemon = True
        self._loaded = loaded
        self._reload = reload
        self._variables = variables
        self._systemd = systemd
        self._layout = layout
        self._face = face
        self._log = logs.logger()
        self._clock = SystemClock()

    async def run(self) -> None:
        """
        Raises:
            ListenerError: no socket, no daemon.
            StoreError: our own files cannot be used at all.
        """
        self._stop_asked = anyio.Event()
        files = Disk()
        store = Store(self._layout, files)
        services = self._services(files)
        supervisor = self._supervisor(files, store, services)
        refused: Exception | None = None
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._heed, signals, supervisor, name="signals")
                if services is not None:
                    tasks.start_soon(self._tend, services, name="connections")
                try:
                    loops = await self._unless_stopped(supervisor.start)
                    if loops is not None:
                        queries = self._queries(files, store, supervisor)
                        await self._live(tasks, supervisor, files, queries, loops, services)
                except (ListenerError, StoreError) as error:
                    refused = error  # to be raised by itself, and not within a group
                tasks.cancel_scope.cancel()
        if refused is not None:
            raise refused

    async def _live(
        self,
        tasks: anyio.abc.TaskGroup,
        supervisor: Supervisor,
        files: Disk,
        queries: FileQueries,
        loops: int,
        services: HttpServices | None,
    ) -> None:
        self._log.info("daemon.started", loops=loops)
        _spare_the_collector()
        given = self._loaded.settings
        sock = self._systemd.listening_socket()
        listener = None
        if sock is None:
            listener = Listener.open(given.socket, mode=given.socket_mode, gid=_gid(given.socket_group))
            sock = listener.socket
        query_threads = WorkerThreads(_QUERY_THREADS, may_be_left_behind=True)
        app = build_app(
            supervisor.fleet,
            queries,
            _access(given),
            desk=supervisor.desk,
            oneshots=supervisor.oneshots,
            offload=query_threads,
            clock=self._clock,
            afar=services,
        )
        try:
            if self._face is not None:
                self._face.open()
            tasks.start_soon(self._supervise, supervisor, name="supervisor")
            async with anyio.create_task_group() as serving:
                await serving.start(serve_api, sock, app, name="api")
                if self._face is not None:
                    await serving.start(self._show, self._face, supervisor, files, queries, name="face")
                self._log.info("daemon.ready", socket=listener.path if listener else "from systemd", loops=loops)
                self._systemd.notify("READY=1", f"STATUS=supervising {loops} loops")
                await self._stop_asked.wait()
                await self._stop(supervisor)
                serving.cancel_scope.cancel()
        finally:
            if self._face is not None:
                self._face.close()
            if listener is not None:
                listener.close()

    async def _show(
        self,
        face: Face,
        supervisor: Supervisor,
        files: Disk,
        queries: FileQueries,
        *,
        task_status: anyio.abc.TaskStatus[None],
    ) -> None:
        parts = Parts(self._layout.home, supervisor, queries, files, lambda: self._transport(files), self._clock)
        await face.serve(parts, task_status=task_status)

    async def _stop(self, supervisor: Supervisor) -> None:
        self._systemd.notify("STOPPING=1")
        self.last_resort.start()
        in_time = await supervisor.stop()
        self.threads_hang = not in_time or supervisor.threads_left_behind > 0
        if not in_time and self.code is ExitCode.OK:
            self.code = ExitCode.UNWRITTEN

    async def _unless_stopped(self, start: Callable[[], Awaitable[int]]) -> int | None:
        """What `start` comes to, or None if the stop was asked for before it was done."""
        result = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_stopped, tasks.cancel_scope, name="stop during start")
            result = await start()
            tasks.cancel_scope.cancel()
        return result

    async def _cancel_when_stopped(self, scope: anyio.CancelScope) -> None:
        await self._stop_asked.wait()
        scope.cancel()

    async def _supervise(self, supervisor: Supervisor) -> None:
        try:
            await supervisor.run()
        except* GaveUp:
            self.code = ExitCode.GAVE_UP
            self._ask_to_stop("a part of the daemon gave up")

    async def _heed(self, signals: AsyncIterator[signal.Signals], supervisor: Supervisor) -> None:
        async for received in signals:
            if received is signal.SIGHUP:
                await self._read_settings_again(supervisor)
            else:
                self._ask_to_stop(received.name)

    def _ask_to_stop(self, reason: str) -> None:
        if not self._stop_asked.is_set():
            self._log.info("daemon.stopping", reason=reason)
            self._stop_asked.set()

    async def _read_settings_again(self, supervisor: Supervisor) -> None:
        try:
            loaded = await anyio.to_thread.run_sync(self._reload)
        except SettingsError as error:
            supervisor.findings.add("settings_invalid", "; ".join(error.problems), self._clock.now())
            self._log.error("settings.rejected", problems=error.problems)
            return
        supervisor.findings.clear("settings_invalid")
        live, restart = settings.changed(self._loaded.settings, loaded.settings)
        self._loaded = loaded
        _configure_logs(loaded.settings, self._variables)
        supervisor.retune(_tuning(loaded, self._layout))
        self._log.info("settings.reloaded", changed=live, need_restart=restart)

    def _services(self, files: Disk) -> HttpServices | None:
        """The way to loops behind services. Inside a sprite there is nobody else to ask."""
        if self._face is not None and self._face.is_home_alone:
            return None
        given = self._loaded.settings
        folders = (given.service_token_folder, self._variables.get("CREDENTIALS_DIRECTORY"))
        reading = WorkerThreads(_SERVICE_THREADS, may_be_left_behind=True)
        named = [folder for folder in folders if folder]
        tokens = Tokens(files, reading, folders=named, variables=self._variables)
        return HttpServices(trust=Trust(given.service_ca_file), tokens=tokens, clock=self._clock, offload=reading)

    async def _tend(self, services: HttpServices) -> None:
        """Until cancelled: connections that nobody uses are closed, at the end all of them."""
        try:
            while True:
                await self._clock.sleep_until(self._clock.monotonic() + _TIDY_EVERY_S)
                await services.tidy()
        finally:
            with anyio.move_on_after(_CLOSE_WITHIN_S, shield=True):
                await services.aclose()

    def _supervisor(self, files: Disk, store: Store, services: HttpServices | None) -> Supervisor:
        given = self._loaded.settings
        local, behind = self._transport(files), ServiceTransport()
        ways: Mapping[TransportMode, Transport] = {TransportMode.LOCAL: local, TransportMode.SPRITE_SERVICE: behind}
        return Supervisor(
            start_id=uuid.uuid4().hex,
            layout=self._layout,
            files=files,
            store=store,
            transport=RoutedTransport(ways),
            remote=None if services is None else Remote(services, behind),
            outward=self._outward(files),
            processes=self._processes(),
            watch=Watch(files) if given.watch else None,
            sweep=Sweep(files, SweepPace(idle_s=given.sweep_idle_interval_s)),
            sweep_interval_s=given.sweep_interval_s,
            threads=Threads(
                passes=WorkerThreads(_PASS_THREADS, may_be_left_behind=True),
                commits=WorkerThreads(1, may_be_left_behind=True),
                looks=WorkerThreads(2, may_be_left_behind=True),
                acts=WorkerThreads(given.max_concurrent_intents, may_be_left_behind=True),
            ),
            discovers=self._face is not None and self._face.is_home_alone,
            controls=self._controls(),
            acts_at_once=given.max_concurrent_intents,
            clock=self._clock,
            log=self._log,
            tuning=_tuning(self._loaded, self._layout),
            pulse=self._tell_systemd,
        )

    def _transport(self, files: Disk) -> LocalTransport:
        given = self._loaded.settings
        limits = Limits(given.bytes_per_pass, given.events_per_pass, given.line_bytes)
        return LocalTransport(files, self._processes(), limits=limits)

    def _outward(self, files: Disk) -> Outward:
        """What one-shot commands need of the outside, as they would have it without a daemon."""
        reading = WorkerThreads(_SERVICE_THREADS, may_be_left_behind=True)
        lend = partial(
            lent, ca_file=self._loaded.settings.service_ca_file, files=files, offload=reading, clock=self._clock
        )
        return Outward(lambda: LocalTransport(files, self._processes(), one_shot=True), lend)

    def _processes(self) -> Processes:
        return ProcFs() if self._loaded.settings.process_evidence else _NoEvidence()

    def _controls(self) -> HostControls:
        given = self._loaded.settings
        return HostControls(
            superloop_bin=given.superloop_bin,
            launcher=given.launcher,
            under_systemd=_is_a_service(self._variables),
            variables=self._variables,
        )

    def _queries(self, files: Disk, store: Store, supervisor: Supervisor) -> FileQueries:
        return FileQueries(
            store,
            files,
            rules=lambda: supervisor.rules,
            transport=lambda: self._transport(files),
            monotonic=self._clock.monotonic,
        )

    def _tell_systemd(self, well: bool) -> None:
        if well and self._systemd.watchdog:
            self._systemd.notify("WATCHDOG=1")


class _NoEvidence:
    """`opsd.ports.Processes` where runs live on another machine, so that nothing can be said about their processes."""

    def sighting(self, pid: int, begun_by: datetime | None) -> ProcessSighting:
        return ProcessSighting.UNKNOWN

    def family(self, pid: int, pgid: int | None) -> Sequence[ProcessSighting]:
        return ()


def _is_a_service(variables: Mapping[str, str]) -> bool:
    """Whether systemd began this very process: a shell below a service inherits the first variable, not its number."""
    return "INVOCATION_ID" in variables and variables.get("SYSTEMD_EXEC_PID", str(os.getpid())) == str(os.getpid())


def _spare_the_collector() -> None:
    """Thousands of runs live as long as the daemon: looking through all of them for cycles, again and again, took one
    part in twenty of the CPU time under load and found nothing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _tuning(loaded: Loaded, layout: Layout) -> Tuning:
    given = loaded.settings
    return Tuning(
        rules=Rules(
            layout.home,
            boot_id(),
            loaded.thresholds,
            given.telemetry_interval_s,
            drift=DriftOptions(
                given.drift_min_confidence,
                given.drift_required_streak,
                given.drift_summary_window,
                tuple(sorted(loaded.basis.catalog.profiles)),
            ),
        ),
        commit_interval_s=given.commit_interval_s,
        basis=loaded.basis,
        max_concurrent_passes=given.max_concurrent_passes,
        pass_deadline_s=given.pass_deadline_s,
        control_timeout_s=given.control_timeout_s,
        pace=Pace(
            fast_s=given.service_fast_poll_s,
            quiet_after_s=given.service_quiet_after_s,
            idle_s=given.service_idle_poll_s,
            budget=given.service_error_budget,
        ),
    )


def _configure_logs(given: Settings, variables: Mapping[str, str]) -> None:
    logs.configure(level=given.log_level, form=given.log_format, journal_stream=variables.get("JOURNAL_STREAM"))


def _lock(layout: Layout, socket_path: str) -> HomeLock:
    """
    Raises:
        HomeLocked: another daemon holds it, or a one-shot command does for too long.
    """
    holder = Holder(os.getpid(), SystemClock().now(), socket_path)
    try:
        return HomeLock.acquire(layout.lock, holder)
    except HomeLocked as error:
        if error.holder is not None and error.holder.socket_path is not None:
            raise
    return HomeLock.acquire(layout.lock, holder, wait_s=LOCK_WAIT_S)


def _access(given: Settings) -> Access:
    return Access(os.getuid(), _gid(given.socket_group), _gid(given.operator_group))


def _gid(group: str | None) -> int | None:
    return None if group is None else grp.getgrnam(group).gr_gid


def _refuse(error: Exception, code: ExitCode) -> ExitCode:
    """What an operator at the terminal has to know, in one line; the log has it too."""
    logs.logger().error("daemon.refused", problem=str(error), code=int(code))
    return code


def _end_now(code: ExitCode) -> None:
    sys.stderr.flush()
    os._exit(code)
