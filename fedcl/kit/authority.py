"""Makes the federation's own certificate authority and the server's certificate.

The profile of X.509 (https://www.rfc-editor.org/rfc/rfc5280) is an authority that vouches for
servers only, not for other authorities, with ECDSA on P-384 and SHA-384. Sites trust this
authority and no other.
"""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedcl.kit.federation import FederationSettings, is_address

# A certificate begins a little earlier than now, for machines whose clock is behind.
_EARLIER = timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_authority(settings: FederationSettings, now: datetime) -> Pair:
    """Make a federation's authority: a new key and a certificate that it signs itself."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = _name(f"{settings.name} authority")
    until = now + timedelta(days=settings.days.authority)
    builder = _builder(name, key.public_key(), now, until).issuer_name(name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(authority=True), critical=True)
    return Pair(builder.sign(key, hashes.SHA384()), key)


def make_server_certificate(settings: FederationSettings, authority: Pair, now: datetime) -> Pair:
    """Make the certificate of the gateway and of the SuperLink behind it on loopback.

    The certificate ends no later than the authority's.
    """
    key, issuer = ec.generate_private_key(ec.SECP384R1()), authority.certificate
    until = min(now + timedelta(days=settings.days.server), issuer.not_valid_after_utc)
    names = x509.SubjectAlternativeName(alternative_names(settings))
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    for_servers = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = _builder(_name(f"{settings.name} server"), key.public_key(), now, until)
    builder = builder.issuer_name(issuer.subject)
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    builder = builder.add_extension(_usage(authority=False), critical=True)
    for extension in (for_servers, names, by):
        builder = builder.add_extension(extension, critical=False)
    return Pair(builder.sign(authority.key, hashes.SHA384()), key)


def alternative_names(settings: FederationSettings) -> list[x509.GeneralName]:
    """Return every name under which the server is reached, each once."""
    hosts = dict.fromkeys([settings.host, *settings.also, "localhost", "127.0.0.1"])
    return [
        x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
        for host in hosts
    ]


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before((now - _EARLIER).replace(microsecond=0))
    builder = builder.not_valid_after(until.replace(microsecond=0))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,  # the authority signs invitations too
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
