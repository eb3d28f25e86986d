"""Colours by meaning, and Streamlit's theme made of them. The only place with colour codes.

The palette is built on Okabe and Ito's, which stays apart in the common forms of colour blindness. Better and worse are
blue-green and vermilion, never red against green, and come with an arrow, a sign or a word. Fonts are the bundled ones.
"""

from __future__ import annotations

from typing import Any

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, OCHRE, GREY = (
    "#2F78C4",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#B8A200",
    "#8A94A6",
)
PALETTE = {
    "blue": BLUE,
    "orange": ORANGE,
    "green": GREEN,
    "pink": PINK,
    "sky": SKY,
    "vermilion": VERMILION,
    "ochre": OCHRE,
    "grey": GREY,
}
"""The colours by the names that a declaration may give."""
NOW, BEFORE = BLUE, GREY
"""The colours of this period and of what it is compared with."""
CHART_TEXT = {"light": "#3A4555", "dark": "#C3CCD8"}
"""The colours of numbers beside bars: ECharts would draw them with an outline of its own."""

STEPS = {
    "light": ("#EAF2FB", "#C3DBF3", "#8FBBE6", "#5A99D6", "#2F78C4"),
    "dark": ("#17283C", "#1F3F63", "#2A5C93", "#4C8BCB", "#8CBDF0"),
}
"""The colours from few to many: one hue, so that lightness alone carries the meaning."""
ON_STRONG = {"light": "#FFFFFF", "dark": "#11161D"}
"""The colours of numbers on the strongest of the steps."""

CHANNELS = {
    "organic": GREEN,
    "paid_search": BLUE,
    "direct": GREY,
    "email": ORANGE,
    "paid_social": PINK,
    "affiliate": SKY,
    "other": OCHRE,
}
SEGMENTS = {
    "high_value": GREEN,
    "new_user": SKY,
    "regular": BLUE,
    "abandoned_search": ORANGE,
    "at_risk": VERMILION,
}

_LIGHT = {
    "primaryColor": BLUE,
    "backgroundColor": "#FFFFFF",
    "secondaryBackgroundColor": "#F3F6FA",
    "textColor": "#17212F",
    "linkColor": "#1F5FA8",
    "borderColor": "#DDE3EB",
    "greenColor": "#00856A",
    "greenTextColor": "#00705A",
    "greenBackgroundColor": "#E3F4EF",
    "redColor": "#C8500A",
    "redTextColor": "#A84206",
    "redBackgroundColor": "#FCEBDF",
    "orangeColor": "#B87A00",
    "orangeTextColor": "#8A5A00",
    "orangeBackgroundColor": "#FFF3D6",
    "grayColor": "#7A8596",
    "grayTextColor": "#5B6675",
    "grayBackgroundColor": "#F0F3F7",
    "blueColor": BLUE,
    "blueTextColor": "#1F5FA8",
    "blueBackgroundColor": "#E6F0FA",
    "dataframeBorderColor": "#E4E9F0",
    "dataframeHeaderBackgroundColor": "#F3F6FA",
    "dataframeHeaderTextColor": "#4A5565",
}
_DARK = {
    "primaryColor": "#6CA8E8",
    "backgroundColor": "#11161D",
    "secondaryBackgroundColor": "#1A212B",
    "textColor": "#E6EBF2",
    "linkColor": "#8CBDF0",
    "borderColor": "#2B3542",
    "greenColor": "#35C5A1",
    "greenTextColor": "#5AD6B7",
    "greenBackgroundColor": "#123229",
    "redColor": "#F08A4B",
    "redTextColor": "#F5A06B",
    "redBackgroundColor": "#3A2215",
    "orangeColor": "#E9B44C",
    "orangeTextColor": "#F0C368",
    "orangeBackgroundColor": "#382C10",
    "grayColor": "#8A97A8",
    "grayTextColor": "#A3AFBF",
    "grayBackgroundColor": "#232C37",
    "blueColor": "#6CA8E8",
    "blueTextColor": "#8CBDF0",
    "blueBackgroundColor": "#152A40",
    "dataframeBorderColor": "#2B3542",
    "dataframeHeaderBackgroundColor": "#1A212B",
    "dataframeHeaderTextColor": "#B4BFCC",
}
_BOTH = {
    "baseFontSize": 15,
    "baseRadius": "8px",
    "headingFontSizes": ["28px", "20px", "17px", "16px", "15px", "14px"],
    "headingFontWeights": [650, 600, 600, 600, 600, 600],
    "metricValueFontSize": "27px",
    "metricValueFontWeight": 600,
    "showWidgetBorder": True,
    "showSidebarBorder": True,
    "paddingTop": "1rem",
    "paddingBottom": "2rem",
    "chartCategoricalColors": [BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, OCHRE, GREY],
}
OPTIONS: dict[str, Any] = {
    **{f"theme.{name}": value for name, value in _BOTH.items()},
    **{f"theme.light.{name}": value for name, value in _LIGHT.items()},
    **{f"theme.dark.{name}": value for name, value in _DARK.items()},
    "theme.light.sidebar.backgroundColor": "#F7F9FC",
    "theme.light.sidebar.secondaryBackgroundColor": "#FFFFFF",
    "theme.dark.sidebar.backgroundColor": "#151B23",
    "theme.dark.sidebar.secondaryBackgroundColor": "#1F2731",
}
"""Streamlit's options, as `App.run(config=…)` takes them."""
