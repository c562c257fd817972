"""A `Progress` that remembers what it was told."""


class Told:
    """Steps and lines, in their order."""

    def __init__(self):
        self.steps: list[tuple[str, int, int]] = []
        self.lines: list[str] = []

    def step(self, what, done, total):
        self.steps.append((what, done, total))

    def say(self, text):
        self.lines.append(text)

    def counts(self, what):
        """Return (done, total) of each step of a job."""
        return [(done, total) for name, done, total in self.steps if name == what]
