"""Model: what was trained on what, the figures as measured, the limits."""

import streamlit as st

from model.bundle import read_metrics
from model.card import CALIBRATION_PLOT, CARD, DICE_PLOT, VOLUME_PLOT
from model.predict import DEFAULT_MODEL
from pages.components.engine import engine
from utils.errors import ModelError
from utils.labels import Region

st.title("Model")
runtime = engine().runtime
st.caption(f"Runs here as: {runtime}." if runtime else "The network is being loaded.")

try:
    summary = read_metrics(DEFAULT_MODEL)["summary"]
except ModelError as error:
    st.error(str(error))
    st.stop()
for column, region in zip(st.columns(3), Region, strict=True):
    dice = summary[region.name]["dice"]
    column.metric(
        f"{region.title}: median Dice of unseen patients",
        f"{dice['median']:.2f}",
        help=f"Mean {dice['mean']:.2f}, 95 % interval {dice['low']:.2f} to {dice['high']:.2f}.",
        border=True,
    )

PLOTS = {
    DICE_PLOT: "Dice of every test patient",
    VOLUME_PLOT: "Volume error against volume",
    CALIBRATION_PLOT: "What a probability is worth",
}
for column, (plot, caption) in zip(st.columns(len(PLOTS)), PLOTS.items(), strict=True):
    column.image(str(DEFAULT_MODEL / plot), caption=caption)

card = (DEFAULT_MODEL / CARD).read_text()
st.markdown("\n".join(line for line in card.splitlines() if not line.startswith("![")))
