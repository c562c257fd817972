"""`fedcl kit` as its users meet it: what is printed, what is asked, exit codes."""

import io
import sys

import pytest

from fedcl.cli.main import main
from fedcl.kit.registry import Registry
from tests.kit.opened import NOW, write_federation


@pytest.fixture
def kit(tmp_path, monkeypatch, capsys):
    """Run `fedcl kit ...` in the test's folder; return its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    write_federation(tmp_path / "FEDERATION.yaml")

    def run(*arguments, answer=""):
        monkeypatch.setattr(sys, "argv", ["fedcl", "kit", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    return run


def fingerprint_after(words, text):
    line = next(line for line in text.splitlines() if line.strip().startswith(words))
    return " ".join(line.split()[-16:])


def test_a_site_joins_with_three_commands(kit, tmp_path):
    code, opened, _ = kit("new", "FEDERATION.yaml")
    assert code == 0
    code, asked, _ = kit("request", "brain-age/invitations/north.yaml")
    assert code == 0
    assert fingerprint_after("Authority", opened) == fingerprint_after("the authority", asked)
    code, told, _ = kit("approve", "brain-age", "north/request.yaml", answer="y\n")
    assert code == 0
    assert fingerprint_after("this site's key", asked) in told
    assert "Site north: approved, until " in told
    code, listed, _ = kit("list", "brain-age")
    assert code == 0
    assert [listed.count(word) for word in ("approved", "invited", "valid")] == [1, 2, 2]
    assert fingerprint_after("this site's key", asked)[:19] in listed
    code, again, _ = kit("approve", "brain-age", "north/request.yaml")
    assert (code, "was approved before" in again) == (0, True)


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("\n", 1), ("", 130)])
def test_nothing_is_approved_without_a_yes(kit, tmp_path, answer, code):
    kit("new", "FEDERATION.yaml")
    kit("request", "brain-age/invitations/north.yaml")
    left, told, _ = kit("approve", "brain-age", "north/request.yaml", answer=answer)
    assert left == code
    assert "Not approved; nothing was written." in told
    assert Registry(tmp_path / "brain-age").allowed_keys(NOW) == {}


def test_a_site_is_revoked_invited_again_and_makes_another_key(kit, tmp_path):
    kit("new", "FEDERATION.yaml", "--folder", "server")
    kit("request", "server/invitations/12.yaml", "--folder", "ours")
    assert kit("approve", "server", "ours/request.yaml", "--yes")[0] == 0
    assert kit("revoke", "server", "12")[0] == 0
    assert "revoked" in kit("list", "server")[1]
    code, _, error = kit("approve", "server", "ours/request.yaml", "--yes")
    assert code == 2
    assert "the site was revoked" in error
    assert kit("invite", "server", "12")[0] == 0
    code, told, _ = kit("request", "server/invitations/12.yaml", "--folder", "ours")
    assert "Kept: ours/node.key." in told
    assert kit("approve", "server", "ours/request.yaml", "--yes")[0] == 0


def test_the_list_notes_a_certificate_that_would_not_serve(kit, tmp_path):
    kit("new", "FEDERATION.yaml", "--folder", "server")
    write_federation(tmp_path / "server" / "federation.yaml", host="new.example")
    code, listed, _ = kit("list", "server")
    assert code == 0
    assert "Note: server/server.crt: not made for new.example" in listed
    assert kit("renew", "server")[0] == 0
    assert "Note" not in kit("list", "server")[1]


def test_notes_about_the_sites_settings_are_printed(kit, tmp_path):
    kit("new", "FEDERATION.yaml", "--folder", "server")
    kit("request", "server/invitations/north.yaml")
    settings = tmp_path / "north" / "site.yaml"
    settings.write_text(settings.read_text().replace(":8443", ":1"))
    assert "Note: north/site.yaml: server:" in kit("request", "north/invitation.yaml")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "none.yaml"], "none.yaml: cannot read the federation's settings"),
        (["new", "FEDERATION.yaml", "--folder", "FEDERATION.yaml"], "already there"),
        (["new", "FEDERATION.yaml", "--folder", "FEDERATION.yaml/x"], "cannot be written"),
        (["request", "FEDERATION.yaml"], "this is a federation's settings"),
        (["approve", ".", "FEDERATION.yaml"], "no server's folder"),
        (["list", "FEDERATION.yaml"], "is a file; give the server's folder"),
        (["revoke", "nowhere", "north"], "there is no such folder"),
    ],
)
def test_a_mistake_is_one_message(kit, arguments, message):
    code, _, error = kit(*arguments)
    assert code == 2
    assert error.startswith("fedcl: ")
    assert message in error
    assert error.count("\n") == 1
