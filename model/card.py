"""The model card and its plots, generated from a model folder so that they cannot disagree."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from model.bundle import (
    ModelInfo,
    joint_sha256,
    read_members,
    read_metrics,
    require_measured,
)
from model.reliability import covered, reliability, unseen_cases
from utils.labels import Region
from utils.postprocess import ENHANCING_ML

CARD = "MODEL_CARD.md"
DICE_PLOT, VOLUME_PLOT, CALIBRATION_PLOT = "dice.png", "volumes.png", "calibration.png"
SEED_CLAIMS = {"pixel_accuracy": 0.9864, "four_class_dice": 0.9764}
"""What the project this one grew from reports; never measured per region or on unseen patients."""


def write_card(folder: Path) -> None:
    """Write ``MODEL_CARD.md`` and the plots from config and metrics."""
    members = read_members(folder)
    require_measured(folder, members)
    metrics = read_metrics(folder)
    _plot_dice(metrics, folder / DICE_PLOT)
    _plot_volumes(metrics, folder / VOLUME_PLOT)
    _plot_calibration(metrics, folder / CALIBRATION_PLOT)
    (folder / CARD).write_text(_text(members, metrics))


def _text(members: Sequence[ModelInfo], metrics: dict[str, Any]) -> str:
    info, tested = members[0], len(metrics["cases"])
    return f"""# Model card: {info.name}

**For research only. Not a medical device. Do not base a decision about a patient on it.**

## What it is

A 3-D U-Net ({info.unet.width} filters at half resolution, {info.unet.depth} levels below) that reads
four co-registered, skull-stripped MRI scans (FLAIR, T1, T1ce, T2; 1 mm, MinMax-scaled, then standardised over the brain)
and gives each voxel the probability of three nested regions: whole tumour (WT), tumour core (TC),
enhancing tumour (ET). {_averaging(members)}

**Intended use:** measuring and viewing gliomas before treatment, in research. **Not for** scans after
surgery or radiotherapy, children, metastases, meningiomas, scans with the skull, other sequences,
or screening: it was not trained on people without a tumour and may find one where there is none
(in the synthetic healthy heads of the tests it finds none).

## How it was trained

{_patients(info, metrics)} Recipe: `config.json`; course: `history.csv` and `learning_curve.png`; what was tried and
what it gave: `model/EXPERIMENTS.md`.

Data: BraTS 2018 to 2023 and the Medical Segmentation Decathlon, under their terms (CC BY 4.0, CC BY-SA 4.0
and the BraTS data-use terms). Cite Menze et al. 2015 (doi:10.1109/TMI.2014.2377694), Bakas et al. 2017
(doi:10.1038/sdata.2017.117), Bakas et al. 2018 (arXiv:1811.02629), Baid et al. 2021 (arXiv:2107.02314),
Antonelli et al. 2022 (doi:10.1038/s41467-022-30695-9).

## How good it is

Measured per patient on the {tested} test patients, by the code path the app runs
(`make evaluate`). Mean [bootstrap 95 % interval of the mean]; median (quartiles).

{_table(metrics)}

{tested} patients are few: the intervals are wide, and a single hard case moves a mean by several points.
The median says what to expect of a usual case, the worst cases below what can happen. The threshold, the smallest speck, what
is averaged and which of two trainings is fold 0 were settled with these patients in view (`model/EXPERIMENTS.md`, 9, 11, 14, 20
and 27), so unseen ones may do slightly worse.

{_averaged(metrics)}
{_worst(metrics)}
{_second_set(metrics)}

![Dice of every test patient]({DICE_PLOT})
![Volume error against volume]({VOLUME_PLOT})

## What its doubt is worth

{_doubt(info, metrics)}

![How often a region was there, by how probable it was said to be]({CALIBRATION_PLOT})

{_input_check(metrics)}

### With a scan missing

{_without(metrics)}

The app asks for all four: this is what it spares the reader.

### What naive projects would print for the same masks

{_naive(metrics)}

These count air and healthy brain as success; the column of the empty mask shows what they give to a network that
never finds a tumour. They stand here for comparison only.

## Known limits

- Few training patients: rare shapes, sites and scanners are not covered.
{_smallest(metrics)}
- Enhancement of less than {ENHANCING_ML:g} mL in all is called core, for most who would have so little have none; a smallest size of 0 in *Correct* shows it.
- Anything but aligned, skull-stripped scans in the right slots lies outside what it was trained on; the app checks and asks, it cannot know.
"""  # noqa: E501  # a paragraph of Markdown is one line


def _averaging(members: Sequence[ModelInfo]) -> str:
    """What answers together, and the hash that stands for it."""
    if len(members) == 1:
        return f"""The mean over the head and its mirror image counts. Weights SHA-256 `{members[0].sha256}`."""  # noqa: E501
    hashes = "\n".join(f"    {member.sha256}  {member.name}" for member in members)
    return f"""The mean of {len(members)} such networks counts, trained in the same way though not all for as long, one on all patients and the
others without a fifth of them each; every second one is shown the head's mirror image. SHA-256 of their weights:

{hashes}

and of these {len(members)} hashes, a line each, which every record names: `{joint_sha256(members)}`."""  # noqa: E501


def _averaged(metrics: dict[str, Any]) -> str:
    """What the mean of networks gives where that can be known."""
    if not (found := metrics.get("averaged")):
        return ""
    lines = [
        "| Patient | networks | WT alone, together | TC | ET |",
        "|---|---|---|---|---|",
    ]
    for name, case in found.items():
        cells = (f"{case['alone'][r.name]:.3f}, {case['together'][r.name]:.3f}" for r in Region)
        lines.append(f"| {name} | {case['networks']} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    return f"""These are figures of single networks, each of them asked about the head and its mirror image. The mean of {len(metrics["measured"]) + 1} networks,
which the app shows, cannot be measured on these patients, for most of its networks learnt from them. Where several did not, Dice of each alone
(their average) and of their mean:

{table}
"""  # noqa: E501


def _second_set(metrics: dict[str, Any]) -> str:
    """What the network makes of patients of whom there is no whole head."""
    if not (found := metrics.get("patches")):
        return ""
    cells = "; ".join(
        f"{name} **{s['mean']:.3f}** [{s['low']:.3f}, {s['high']:.3f}], {s['median']:.3f} "
        f"({s['q1']:.3f} to {s['q3']:.3f})"
        for name, s in found["dice"].items()
    )
    return f"""
**A second, more diverse set:** {found["cubes"]} lesion patches (60 x 60 x 39 mm, resolution 1.9 x 1.9 x 1.2 mm) of {found["patients"]}
further patients, unseen, without the head around them, masks made as the app makes them. Dice, mean [95 % interval], median
(quartiles): {cells}."""  # noqa: E501


def _patients(info: ModelInfo, metrics: dict[str, Any]) -> str:
    then = ", then on crops of the volumes with such lesions pasted in as well"
    trained = f"""First on patches of the whole volumes of {len(info.cases["train"])} patients
and on lesion cubes of further patients{then if info.training.settled else ""}."""
    if info.training.fold < 0:
        return f"""{trained} Nobody is left to measure it on: the figures
below are those of {", ".join(metrics["measured"])}, trained in the same way without the patients they are measured on,
of whom they saw nothing, under whatever name."""  # noqa: E501
    return f"""{trained} {len(info.cases["validation"])} further
patients watched and calibrated its doubt; nothing of a test patient, under whatever name, was seen."""  # noqa: E501


def _doubt(info: ModelInfo, metrics: dict[str, Any]) -> str:
    cases = unseen_cases(metrics)
    known = reliability(cases)
    calibration = metrics["calibration"]
    doubted = ", ".join(f"{r.name} {calibration[r.name]['error_in_doubt']:.3f}" for r in Region)
    errors = ", ".join(f"{r.name} {calibration[r.name]['error']:.3f}" for r in Region)
    hot = ", ".join(f"{r.name} {t:g}" for r, t in zip(Region, info.temperatures, strict=True))
    inside = ", ".join(f"{r.name} {count}" for r, count in covered(cases).items())

    def ranges(quantile: float) -> str:
        spreads = {r: [c["regions"][r.name]["spread"] for c in cases] for r in Region}
        told = "{} {:.0f} to {:.0f} mL"
        return ", ".join(
            told.format(r.name, *known.volume_interval_ml(r, 20, float(np.quantile(u, quantile))))
            for r, u in spreads.items()
        )

    fitted = f"fitted on the {len(metrics['validation'])} validation patients"
    if len(metrics["measured"]) > 1:
        fitted = (
            "fitted on what the folds say of the patients they left out (those of a fold, by which "
            "the figures are measured, on what the others say)"
        )
    return f"""Probabilities are calibrated by one temperature a region ({hot}), {fitted}. Expected calibration error on the test
patients: {doubted} over voxels said to be 10 to 90 % probable, {errors} over all that are neither 0 nor 1.{_doubt_of_patches(metrics)}

The interval beside a volume comes from the errors on all {known.cases} patients no training step saw, in units of the network's
doubt about each (how much volume is possible, and how much all but sure; split conformal prediction): the true volume of a comparable patient lies within it with a probability of
at least {known.coverage:.0%}. By the errors of the others it lay there for {inside} of the {known.cases}. A predicted 20 mL means {ranges(0.25)} for a patient
who is less in doubt than three of four, and {ranges(0.75)} for one who is more so. How doubt is measured was settled on the same
patients: new ones may lie within a little less often than promised."""  # noqa: E501


def _doubt_of_patches(metrics: dict[str, Any]) -> str:
    if not (found := metrics.get("patches")):
        return ""
    doubted = ", ".join(f"{n} {c['error_in_doubt']:.3f}" for n, c in found["calibration"].items())
    return f"""
On the patches of the {found["patients"]} patients of the second set: {doubted} over 10 to 90 %."""


def _input_check(metrics: dict[str, Any]) -> str:
    """What the check before the network lets through and stops."""
    checked = metrics["input_check"]
    return f"""The check before the network refuses or asks about {checked["stopped"]} of the {checked["studies"]} labelled studies (its thresholds were
set with them in view), and about {checked["noticed"]} of {checked["swaps"]} in which two scans were put into each other's slot."""  # noqa: E501


def _table(metrics: dict[str, Any]) -> str:
    rows = [
        ("Dice", "dice", 3),
        ("HD95, mm", "hd95_mm", 1),
        ("Surface Dice at 2 mm", "surface_dice", 3),
        ("Lesion-wise Dice", "lesion_dice", 3),
        ("Sensitivity", "sensitivity", 3),
        ("Precision", "precision", 3),
        ("Absolute volume error, mL", "absolute_volume_error_ml", 1),
        ("Signed volume error, mL", "volume_error_ml", 1),
    ]
    lines = ["| | WT | TC | ET |", "|---|---|---|---|"]
    for title, key, digits in rows:
        cells = [_cell(metrics["summary"][region.name][key], digits) for region in Region]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(s: dict[str, float], digits: int) -> str:
    def show(name: str) -> str:
        return f"{s[name]:.{digits}f}"

    interval = f"[{show('low')}, {show('high')}]"
    return f"**{show('mean')}** {interval}; {show('median')} ({show('q1')} to {show('q3')})"


def _worst(metrics: dict[str, Any]) -> str:
    lines = [
        "| Patient | WT Dice | TC Dice | ET Dice | WT mL | TC mL | ET mL |",
        "|---|---|---|---|---|---|---|",
    ]
    ordered = sorted(metrics["cases"].items(), key=lambda item: _mean_dice(item[1]))
    for name, case in ordered:
        regions = [case["regions"][region.name] for region in Region]
        dice = " | ".join(f"{r['dice']:.3f}" for r in regions)
        volumes = " | ".join(
            f"{r['predicted_ml']:.1f} (truth {r['reference_ml']:.1f})" for r in regions
        )
        lines.append(f"| {name} | {dice} | {volumes} |")
    return "\n".join(lines)


def _mean_dice(case: dict[str, Any]) -> float:
    return float(np.mean([case["regions"][region.name]["dice"] for region in Region]))


def _without(metrics: dict[str, Any]) -> str:
    lines = ["| mean Dice | WT | TC | ET |", "|---|---|---|---|"]
    whole = {region: found["dice"]["mean"] for region, found in metrics["summary"].items()}
    rows = {"all four": whole} | {f"no {name}": dice for name, dice in metrics["without"].items()}
    for title, dice in rows.items():
        cells = " | ".join(f"{dice[region.name]:.3f}" for region in Region)
        lines.append(f"| {title} | {cells} |")
    return "\n".join(lines)


def _naive(metrics: dict[str, Any]) -> str:
    titles = {
        "pixel_accuracy": "Voxel accuracy",
        "four_class_dice": "Four-class Dice with background, whole volume",
        "four_class_slice_dice": "Four-class Dice with background, mean over slices",
    }
    lines = [
        "| | these masks | a mask without any tumour | claimed by the project this one grew from |",
        "|---|---|---|---|",
    ]
    for key, title in titles.items():
        measured = f"{metrics['naive'][key]:.4f} | {metrics['naive_empty'][key]:.4f}"
        lines.append(f"| {title} | {measured} | {SEED_CLAIMS.get(key, '')} |")
    return "\n".join(lines)


def _smallest(metrics: dict[str, Any]) -> str:
    """Say from which size on anything is known."""
    scores = [case["regions"][Region.ET.name] for case in metrics["cases"].values()]
    enhancing = [s for s in scores if s["reference_ml"]] or scores
    least = min(enhancing, key=lambda s: float(s["reference_ml"]))
    found = f"{least['predicted_ml']:.1f} mL, Dice {least['dice']:.2f}"
    return (
        "- The smallest enhancing tumour of a test patient has "
        f"{least['reference_ml']:.1f} mL (found: {found}); how smaller ones fare was not measured."
    )


def _plot_dice(metrics: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for number, region in enumerate(Region):
        dice = [case["regions"][region.name]["dice"] for case in metrics["cases"].values()]
        axes.plot(np.linspace(-0.12, 0.12, len(dice)) + number, sorted(dice), "o", alpha=0.7)
        axes.hlines(np.median(dice), number - 0.25, number + 0.25, colors="black")
    axes.set(
        xticks=range(3), xticklabels=[r.title for r in Region], ylabel="Dice", ylim=(-0.03, 1.03)
    )
    axes.set_title("One dot a test patient; the bar is the median")
    figure.savefig(path, dpi=110)


def _plot_volumes(metrics: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for region in Region:
        found = [case["regions"][region.name] for case in metrics["cases"].values()]
        means = [(f["predicted_ml"] + f["reference_ml"]) / 2 for f in found]
        axes.plot(means, [f["volume_error_ml"] for f in found], "o", label=region.title, alpha=0.7)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="mean of predicted and true volume, mL", ylabel="predicted minus true, mL")
    axes.legend()
    axes.set_title("Bland-Altman plot of the volumes")
    figure.savefig(path, dpi=110)


def _plot_calibration(metrics: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    for region in Region:
        bins = metrics["calibration"][region.name]
        some = np.array(bins["voxels"]) > 0
        x, y = (np.array(bins[key])[some] for key in ("probability", "frequency"))
        axes.plot(x, y, "o-", label=region.title, alpha=0.7)
    axes.set(xlabel="probability given", ylabel="share of voxels truly inside")
    axes.legend()
    axes.set_title("Calibration on the test patients")
    figure.savefig(path, dpi=110)
