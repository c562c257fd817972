"""The annotated settings that a hospital and a server read are ones that fedcl itself reads."""

from pathlib import Path
from typing import get_args

from fedcl.config.site import Releasable, load_site
from fedcl.kit.federation import load_federation

ROOT = Path(__file__).parents[2]


def test_the_annotated_site_is_read_as_it_says():
    settings = load_site(ROOT / "sites" / "SITE.yaml")
    assert (settings.site, settings.server) == ("north", "fl.hospital.example:8443")
    assert settings.data.columns.site is None
    assert settings.limits.privacy is not None
    assert "updates" in settings.limits.releases


def test_the_annotated_site_describes_every_kind_of_release():
    text = (ROOT / "sites" / "SITE.yaml").read_text(encoding="utf-8")
    comments = " ".join(line.partition("#")[2] for line in text.splitlines())
    for kind in get_args(Releasable):
        assert kind in comments


def test_the_annotated_federation_is_read_as_it_says():
    federation = load_federation(ROOT / "server" / "FEDERATION.yaml")
    assert federation.server == "fl.hospital.example:8443"
    assert federation.sites == ("north", "south", "12")


def test_the_site_and_the_federation_are_of_one_another():
    federation = load_federation(ROOT / "server" / "FEDERATION.yaml")
    site = load_site(ROOT / "sites" / "SITE.yaml")
    assert site.server == federation.server
    assert site.site in federation.sites
