"""The server's certificate holds in real handshakes, for its own names only, until it ends."""

import ssl
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from fedcl.errors import ConfigError, RunError
from fedcl.kit.certificate_files import (
    load_authority,
    load_authority_certificate,
    load_server_certificate,
)
from fedcl.kit.certificate_problem import (
    server_certificate_problem,
    site_certificate_problem,
)
from fedcl.kit.opening import renew
from tests.kit.opened import DAY, NOW, opened, requested, write_federation


def handshake(server, authority, name):
    """Complete a TLS handshake in memory, as strict as Python can be."""
    listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listening.load_cert_chain(server.certificate, server.key)
    calling = ssl.create_default_context(cafile=authority)
    calling.verify_flags |= ssl.VERIFY_X509_STRICT
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = calling.wrap_bio(back, there, server_hostname=name)
    listener = listening.wrap_bio(there, back, server_side=True)
    waiting = [caller, listener]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert waiting == []


@pytest.fixture(scope="module")
def today(tmp_path_factory):
    """A federation that is valid now: OpenSSL reads the machine's clock."""
    return opened(tmp_path_factory.mktemp("today"), datetime.now(UTC))


@pytest.mark.parametrize("name", ["fl.hospital.example", "127.0.0.1", "localhost", "10.1.2.3"])
def test_a_handshake_succeeds_under_each_name_of_the_server(today, name):
    handshake(today, today.authority, name)


@pytest.mark.parametrize("name", ["fl.hospital.example.org", "hospital.example", "127.0.0.2"])
def test_a_handshake_fails_under_another_name(today, name):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(today, today.authority, name)


def test_a_handshake_fails_with_another_federations_authority(today, tmp_path):
    other = opened(tmp_path, datetime.now(UTC))
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        handshake(today, other.authority, "localhost")


def test_a_renewed_certificate_holds_for_the_sites_as_before(tmp_path):
    server = opened(tmp_path, datetime.now(UTC))
    before = server.key.read_bytes(), server.certificate.read_bytes()
    renew(server.path, datetime.now(UTC))
    after = server.key.read_bytes(), server.certificate.read_bytes()
    assert before[0] != after[0]
    assert before[1] != after[1]
    handshake(server, server.authority, "fl.hospital.example")


def verify(server, now):
    store = Store([load_authority_certificate(server.authority)])
    verifier = PolicyBuilder().store(store).time(now)
    return verifier.build_server_verifier(x509.DNSName("fl.hospital.example")).verify(
        load_server_certificate(server), []
    )


def test_the_chain_is_valid_from_its_making_until_its_last_day(tmp_path):
    server = opened(tmp_path)
    assert len(verify(server, NOW)) == 2
    assert len(verify(server, NOW + 299 * DAY)) == 2
    for time in (NOW - DAY, NOW + 301 * DAY):
        with pytest.raises(VerificationError):
            verify(server, time)


def test_the_authority_vouches_for_servers_and_for_no_other_authority(tmp_path):
    certificate = load_authority_certificate(opened(tmp_path).authority)
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    assert isinstance(certificate.public_key().curve, ec.SECP384R1)
    assert certificate.not_valid_after_utc == NOW + 1000 * DAY


def test_a_server_certificate_ends_no_later_than_the_authority(tmp_path):
    server = opened(tmp_path)
    assert renew(server.path, NOW + 900 * DAY) == NOW + 1000 * DAY
    with pytest.raises(RunError, match="the authority expired 2033-11-29 09:30 UTC"):
        renew(server.path, NOW + 1000 * DAY)


def test_a_whole_folder_has_no_problem(tmp_path):
    server = opened(tmp_path)
    assert server_certificate_problem(server.path, NOW) is None
    assert server_certificate_problem(server.path, NOW + 299 * DAY) is None


def test_what_would_fail_at_the_next_handshake_is_told_before(tmp_path):
    server = opened(tmp_path)

    def problem(now=NOW):
        return server_certificate_problem(server.path, now) or ""

    assert "server.crt: expired 2031-12-30 09:30 UTC; `fedcl kit renew" in problem(NOW + 300 * DAY)
    assert "set the clock" in problem(NOW - DAY)
    assert "ca.crt: expired" in problem(NOW + 1000 * DAY)
    write_federation(server.federation, host="new.example", also=["10.9.9.9"])
    assert "not made for new.example, 10.9.9.9" in problem()
    renew(server.path, NOW)
    assert problem() == ""
    server.key.chmod(0o640)
    assert "chmod 600" in problem()
    server.key.unlink()
    assert "server.key: not there" in problem()


def test_a_key_or_certificate_of_another_federation_is_told(tmp_path):
    (tmp_path / "other").mkdir()
    server, other = opened(tmp_path), opened(tmp_path / "other")
    whole = server.certificate.read_bytes(), server.key.read_bytes()
    server.certificate.write_bytes(other.certificate.read_bytes())
    assert "not the key of" in server_certificate_problem(server.path, NOW)
    server.key.write_bytes(other.key.read_bytes())
    assert "not made by" in server_certificate_problem(server.path, NOW)
    server.certificate.write_bytes(whole[0])
    server.key.write_bytes(whole[1])
    server.authority_key.write_bytes(other.authority_key.read_bytes())
    with pytest.raises(ConfigError, match=r"ca\.key: not the key of .*ca\.crt"):
        load_authority(server)


def test_a_site_hears_that_its_authority_ended(tmp_path):
    site = requested(opened(tmp_path), "north")
    assert site_certificate_problem(site.path, NOW) is None
    assert "ca.crt: expired" in site_certificate_problem(site.path, NOW + 1000 * DAY)
    assert "set the clock" in site_certificate_problem(site.path, NOW - DAY)
    site.authority.unlink()
    assert "cannot read" in site_certificate_problem(site.path, NOW)


def test_a_certificate_that_vouches_for_itself_only_is_no_authority(tmp_path):
    server = opened(tmp_path)
    key, name = ec.generate_private_key(ec.SECP384R1()), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW, NOW + DAY)
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    pem = builder.sign(key, hashes.SHA384()).public_bytes(Encoding.PEM)
    server.authority.write_bytes(pem)
    with pytest.raises(ConfigError, match="of a server, not of an authority"):
        load_authority_certificate(server.authority)


def test_a_servers_certificate_or_several_are_no_authority(tmp_path):
    server = opened(tmp_path)
    ours = server.authority.read_text()
    for text, message in (
        (server.certificate.read_text(), "not the certificate of an authority"),
        (ours + server.certificate.read_text(), "expected one certificate, found 2"),
        ("-----BEGIN CERTIFICATE-----", "not a certificate in PEM"),
    ):
        server.authority.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_authority_certificate(server.authority)
