"""Certificates are verified, always; what is wrong with one is said in words that lead to its remedy."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from opsd.model.observation import UnreachableCause
from opsd.model.service import ControlRequest, ServiceAnswer
from tests.services.asking import a_first_look, a_loop, a_reply, a_seen, seen, services, unreachable
from tests.services.peer import NEWER, Peer, answers, listening

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class Authorities:
    """One that we trust, in a file, and one that we do not know."""

    def __init__(self, folder: Path) -> None:
        self.trusted, self.unknown = trustme.CA(), trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.trusted.cert_pem.write_to_path(self.ca_file)

    def context(self, certificate: trustme.LeafCert) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    return Authorities(tmp_path_factory.mktemp("ca"))


def a_peer() -> Peer:
    return Peer(answers(a_reply(a_seen("loop_start")), headers=NEWER))


async def observed(peer: Peer, authorities: Authorities, certificate: trustme.LeafCert) -> ServiceAnswer:
    async with listening(peer, context=authorities.context(certificate)), services(ca_file=authorities.ca_file) as made:
        return await made.observe(a_first_look(peer, attempts=3), known=None, wait_s=0)


async def test_a_good_certificate_is_all_it_takes(authorities: Authorities) -> None:
    found = await observed(a_peer(), authorities, authorities.trusted.issue_cert("127.0.0.1"))

    assert [event.name for event in seen(found.observation).events] == ["loop_start"]


@pytest.mark.parametrize(
    ("issued", "says"),
    [
        (lambda of: of.trusted.issue_cert("127.0.0.1", not_before=NOW - 9 * DAY, not_after=NOW - DAY), "expired"),
        (lambda of: of.trusted.issue_cert("127.0.0.1", not_before=NOW + DAY), "not valid yet"),
        (lambda of: of.trusted.issue_cert("sprite.example"), "names another"),
        (lambda of: of.unknown.issue_cert("127.0.0.1"), "not trusted here"),
    ],
    ids=["expired", "from tomorrow", "another name", "unknown authority"],
)
async def test_a_bad_certificate_is_told_from_a_service_that_is_not_there(
    authorities: Authorities, issued: Callable[[Authorities], trustme.LeafCert], says: str
) -> None:
    peer = a_peer()

    answer = await observed(peer, authorities, issued(authorities))

    found = unreachable(answer.observation)
    assert (found.cause, found.failure_code) == (UnreachableCause.SERVICE_CERTIFICATE, "service_request_failed")
    assert says in found.problem
    assert answer.codes == ("certificate",)  # no second attempt makes it any better
    assert peer.asked == []


async def test_what_is_kept_back_for_a_certificate_was_surely_not_sent(authorities: Authorities) -> None:
    peer = a_peer()
    context = authorities.context(authorities.unknown.issue_cert("127.0.0.1"))
    async with listening(peer, context=context), services(ca_file=authorities.ca_file) as made:
        answer = await made.control(a_loop(peer), ControlRequest("demo-loop", "cancel", "riya", "tr-1", "key-1"))

    assert answer.surely_not_sent


async def test_the_authorities_of_the_system_are_not_trusted_beside_a_file(authorities: Authorities) -> None:
    """Nor the other way round: without the file, an authority of one's own is unknown."""
    peer = a_peer()
    context = authorities.context(authorities.trusted.issue_cert("127.0.0.1"))
    async with listening(peer, context=context), services() as made:
        answer = await made.observe(a_first_look(peer), known=None, wait_s=0)

    assert unreachable(answer.observation).cause is UnreachableCause.SERVICE_CERTIFICATE


async def test_a_service_without_tls_is_no_service_over_tls() -> None:
    peer = Peer(greeting=b"HTTP/1.1 400 Bad\r\n\r\n")
    async with listening(peer), services() as made:
        answer = await made.observe(a_first_look(peer.base_url.replace("http:", "https:")), known=None, wait_s=0)

    found = unreachable(answer.observation)
    assert found.cause is UnreachableCause.SERVICE_UNREACHED
    assert "TLS" in found.problem


@pytest.mark.parametrize("content", [None, "", "no certificate"])
async def test_a_file_without_authorities_is_said_to_be_that(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    async with services(ca_file=str(path)) as made:
        answer = await made.observe(a_first_look("https://127.0.0.1:1"), known=None, wait_s=0)

    found = unreachable(answer.observation)
    assert found.cause is UnreachableCause.SERVICE_CERTIFICATE
    assert "CA file" in found.problem
