"""Draw freesurfer49.svg from the two tables of results.md: every arm's challenge score.

python docs/measurements/draw.py
"""

import re
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
_VALUE = re.compile(r"(-?[\d.]+) ± ([\d.]+)")


def scores(page: str, features: str) -> dict[str, tuple[float, float]]:
    """Return L_c and half its 95 % interval of each arm in one table of the 49 sites.

    Args:
        page: The text of results.md.
        features: "embedding" or "representation".
    """
    section = page.partition("## Every baseline on one budget")[2]
    table = section.partition(f"| arm, {features} |")[2].partition("\n\n")[0]
    header = f"| arm, {features} |{table}".splitlines()[0].split("|")
    column = [name.strip() for name in header].index("L_c")
    found = {}
    for row in table.splitlines()[2:]:
        cells = [cell.strip() for cell in row.split("|")]
        value = _VALUE.fullmatch(cells[column])
        if value:
            found[cells[1]] = (float(value[1]), float(value[2]))
    return found


def main() -> None:
    """Write the figure beside the page."""
    page = (HERE / "results.md").read_text(encoding="utf-8")
    by_features = {name: scores(page, name) for name in ("embedding", "representation")}
    arms = sorted(by_features["embedding"], key=lambda arm: -by_features["embedding"][arm][0])
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "fedcl", "font.size": 10}
    figure, axes = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
    styles = {"embedding": ("#3f51b5", "o", 0.14), "representation": ("#c77800", "D", -0.14)}
    for name, (colour, marker, offset) in styles.items():
        values = [by_features[name][arm] for arm in arms]
        axes.errorbar(
            [value for value, _ in values],
            [position + offset for position in range(len(arms))],
            xerr=[half for _, half in values],
            fmt=marker,
            markersize=5,
            color=colour,
            label=name,
            linewidth=1.2,
        )
    axes.set_yticks(range(len(arms)), arms)
    axes.set_xlabel("challenge score L_c, lower is better; mean and 95 % t-interval, five seeds")
    axes.grid(axis="x", linewidth=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right")
    figure.patch.set_facecolor("white")
    figure.savefig(HERE / "freesurfer49.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
