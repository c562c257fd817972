"""A page as its reader meets it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The words a reader sees, the elements and their ids, and every address they point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value)

    def handle_data(self, data):
        if self.tags and self.tags[-1] != "style":
            self.words.append(data)

    @property
    def shown(self) -> str:
        return " ".join(" ".join(self.words).split())
