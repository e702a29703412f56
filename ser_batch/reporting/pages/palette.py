"""Colours of the emotions, distinguishable also with any kind of colour blindness."""

COLOURS = {
    "neutral": "#bdbdbd", "calm": "#56b4e9", "happy": "#f0e442", "sad": "#0072b2",
    "angry": "#d55e00", "fearful": "#cc79a7", "disgust": "#009e73",
    "surprised": "#e69f00",
}  # fmt: skip
"""Okabe & Ito (2008), Color Universal Design, with grey instead of black."""
OTHERS = (
    "#882255",
    "#44aa99",
    "#117733",
    "#ddcc77",
    "#332288",
    "#aa4499",
    "#88ccee",
    "#999933",
)
"""For custom labels: Tol (2021), Colour schemes, muted."""
CHANNELS = ("#5b7fb5", "#c28f3c", "#6fa56f", "#a77ab5")


def colours(labels: tuple[str, ...]) -> dict[str, str]:
    """Return a colour for each label."""
    spare = iter(OTHERS * (1 + len(labels) // len(OTHERS)))
    return {label: COLOURS.get(label) or next(spare) for label in labels}
