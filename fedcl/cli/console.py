"""The one console on which every command prints."""

from rich.console import Console

console = Console()
