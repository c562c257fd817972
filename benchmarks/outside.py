"""Checks system call by system call that no process of a federation tries to reach the outside.

A server and its sites are set up, run for two rounds and ended, every command as people type it, in
a network of their own that holds the loopback alone. strace notes each address that any of their
processes connects or sends to; one that is neither of the loopback nor a file fails the check. In
the middle of it all, what listens is read from the kernel. Needs Linux, strace, and the right to
make a network (root, or user namespaces). Run: python benchmarks/outside.py [--sites 2]
"""

import argparse
import ctypes
import fcntl
import ipaddress
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

WATCHED = "connect,sendto,sendmsg,sendmmsg,execve,clone,clone3,fork,vfork"
SKIPPED = 77
"""Exit code if the check cannot be made."""
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000  # clone(2)
_SET_FLAGS, _UP = 0x8914, 0x1  # netdevice(7)
_LISTENS = "0A"  # state of a socket in /proc/net/tcp

_ADDRESS = re.compile(
    r'sa_family=(?P<family>AF_\w+)(?:.*?htons\((?P<port>\d+)\))?(?:.*?inet_addr\("(?P<v4>[^"]+)"\))?'
    r'(?:.*?inet_pton\(AF_INET6, "(?P<v6>[^"]+)")?(?:.*?sun_path=(?P<path>@?"[^"]*"))?'
)
_LINE = re.compile(r"(?P<process>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?P<rest>.*)")


def main() -> None:
    """Watch the federation or, in the inner process, play it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=2, choices=(2, 3))
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        play(arguments.inside, arguments.sites)
        return
    if not sys.platform.startswith("linux") or shutil.which("strace") is None:
        print("skipped: this needs Linux and strace", file=sys.stderr)
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory(prefix="fedcl-outside-") as scratch:
        folder = Path(scratch)
        watch = ["strace", "--seccomp-bpf", "-f", "-qq", "-s", "400", "-e", f"trace={WATCHED}"]
        inside = ["--inside", str(folder), "--sites", str(arguments.sites)]
        done = subprocess.run(
            [*watch, "-o", str(folder / "calls"), sys.executable, __file__, *inside],
            check=False,
            preexec_fn=alone,
        )
        if done.returncode:
            sys.exit(f"the federation did not run to its end: exit {done.returncode}")
        reached = addresses((folder / "calls").read_text(errors="replace").splitlines())
        listening = json.loads((folder / "listening.json").read_text())
        print(reached_table(reached), listening_table(listening), sep="\n\n")
        outside = [f"{who}: {where}" for who, where in reached if not local(where)]
        if outside:
            sys.exit("tried to reach the outside: " + "; ".join(outside))
        # Without these entries, nothing was watched.
        names = {who for who, _ in reached}
        assert {
            "fedcl.sites.guard",
            "fedcl.server.gateway",
            "flower-supernode",
            "flower-superexec",
        } <= names


def alone() -> None:
    """Enter a network that has nothing but a loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    kind = _NEW_NETWORK if os.geteuid() == 0 else _NEW_NETWORK | _NEW_USER
    if libc.unshare(kind):
        os.write(2, b"skipped: this system allows no network of one's own\n")
        os._exit(SKIPPED)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))


def play(folder: Path, sites: int) -> None:
    """Set up, run, inspect and end a federation by its commands."""
    from tests.deployment.lab import Lab

    lab = Lab(folder / "machines", ("north", "12", "south")[:sites], longest_s=1800)
    try:
        lab.set_up()
        federation = lab.server / "federation.yaml"
        open_to_all = {**yaml.safe_load(federation.read_text()), "listen": "0.0.0.0"}
        federation.write_text(yaml.safe_dump(open_to_all))
        lab.fedcl("check", str(lab.settings("north")))
        lab.start()
        lab.run()
        (folder / "listening.json").write_text(json.dumps(listening(lab.superlink, lab.gateway)))
        home = str(lab.home("north"))
        for words in (["kit", "list", "lab"], ["status", "lab"], ["status", home], ["logs", home]):
            lab.fedcl(*words)
        for words in ("verify", "show", "page"):
            lab.fedcl("receipts", words, home)
        lab.fedcl("kit", "revoke", "lab", "north")
    finally:
        lab.stop()


def addresses(lines: list[str]) -> Counter[tuple[str, str]]:
    """Return how often each process tried to reach each address, from strace's output."""
    names: dict[str, str] = {}
    found: Counter[tuple[str, str]] = Counter()
    for line in lines:
        read = _LINE.match(line)
        if read is None:
            continue
        process, call, rest = read["process"], read["call"], read["rest"]
        if call in ("clone", "clone3", "fork", "vfork"):
            child = re.search(r"= (\d+)$", rest)
            if child:
                names.setdefault(child[1], names.get(process, "?"))
        elif call == "execve":
            words = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
            if len(words) > 1:
                names[process] = called(words[1:])
        else:
            for address in _ADDRESS.finditer(rest):
                found[names.get(process, "?"), place(address)] += 1
    return found


def called(words: list[str]) -> str:
    """Return a process's name from its command line: module or program, and fedcl's command."""
    while words and (Path(words[0]).name.startswith("python") or words[0].startswith("-")):
        if words[0] == "-m":
            return " ".join(words[1:3]) if words[1] == "fedcl" else words[1]
        if words[0] == "-c":
            return "python -c"
        words = words[1:]
    return Path(words[0]).name if words else "python"


def place(address: re.Match[str]) -> str:
    """Return an address as text, without ports of the loopback, which change in each run."""
    match address["family"]:
        case "AF_INET" | "AF_INET6":
            host = address["v4"] or address["v6"] or "?"
            near = host != "?" and ipaddress.ip_address(host).is_loopback
            return host if near else f"{host} port {address['port']}"
        case "AF_UNIX":
            path = (address["path"] or "").replace('"', "")
            return f"unix {re.sub(r'[0-9a-f]{6,}|/tmp/.*/', '*', path)}"
        case family:
            return family


def local(where: str) -> bool:
    """Return whether an address belongs to this machine."""
    if where.startswith("unix ") or where in ("AF_NETLINK", "AF_UNSPEC"):
        return True
    try:
        return ipaddress.ip_address(where).is_loopback
    except ValueError:
        return False


def listening(superlink: int, gateway: int) -> list[tuple[str, str, str]]:
    """Return process, address and port of everything that accepts connections in this network."""
    owners = {}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            owners[target[8:-1]] = link.parts[2]
    known, found = {superlink: "SuperLink's", gateway: "the gateway's"}, set()
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            host, port = fields[1].split(":")
            if kind.startswith("tcp") and fields[3] != _LISTENS:
                continue
            words = Path(f"/proc/{owners[fields[9]]}/cmdline").read_text().split("\0")
            port_of = known.get(int(port, 16), "free")
            found.add((called(words), f"{kind} {hosted(host)}", port_of))
    return sorted(found)


def hosted(text: str) -> str:
    """Return an address of /proc/net, given as hexadecimal words in this machine's byte order."""
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    return str(ipaddress.ip_address(struct.pack(f"={len(words)}I", *words)))


def reached_table(reached: Counter[tuple[str, str]]) -> str:
    """Return the table of which process tried to reach what, in Markdown."""
    rows = [f"| `{who}` | {where} | {count} |" for (who, where), count in sorted(reached.items())]
    return "\n".join(["| process | tried to reach | times |", "|---|---|---|", *rows])


def listening_table(found: list[list[str]]) -> str:
    """Return the table of what listened where, in Markdown."""
    rows = [f"| `{who}` | {where} | {port} |" for who, where, port in found]
    return "\n".join(["| process | listens on | port |", "|---|---|---|", *rows])


if __name__ == "__main__":
    main()
