"""Measure a model on patients it never saw: ``python -m model.evaluate DATA``.

Runs the app's own inference path on every test case and writes ``metrics.json``, the plots and
``MODEL_CARD.md`` into the model folder. Where a model folder holds ``fold*`` folders, networks of
the same recipe that were trained without some of the patients, each is measured on those.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle import METRICS, folds_of, papers, read_bundle, read_members
from model.calibration import Reckoning, doubtful, reckon
from model.card import write_card
from model.dataset import Case, cube_patients, find_cases, named_cases, read_cubes, split, unseen
from model.predict import (
    DEFAULT_MODEL,
    EXIT_REFUSED,
    Network,
    load_network,
    load_together,
    region_probabilities,
    segment,
)
from model.runtime import Run
from utils.doubt import volume_spreads
from utils.errors import UserError
from utils.grid import Grid
from utils.intake import read_study_folder
from utils.labels import Region
from utils.metrics import RegionScores, dice, naive_scores, score
from utils.plausibility import likely_arrangement
from utils.postprocess import labels_and_specks
from utils.segmentation import Segmentation
from utils.study import Modality

LOG = logging.getLogger(__name__)
SUMMARISED = (
    "dice", "hd95_mm", "surface_dice", "sensitivity", "precision", "lesion_dice",
    "volume_error_ml", "absolute_volume_error_ml",
)  # fmt: skip
RESAMPLES = 10_000
PATCH = (64, 64, 40)  # what a lesion cube fits into
LEAST_AVERAGED = 2  # networks that make a mean

Scores = dict[str, Any]
"""What is known about one case, as plain numbers."""


def evaluate(cases: Sequence[Case], network: Network) -> dict[str, Scores]:
    """Score the network on labelled cases, patient by patient, by the name of the case."""
    results = {}
    for number, case in enumerate(cases, 1):
        results[case.name] = evaluate_case(case, network)
        told = "  ".join(f"{k} {v['dice']:.3f}" for k, v in results[case.name]["regions"].items())
        LOG.info("[%d/%d] %s  %s", number, len(cases), case.name, told)
    return results


def evaluate_case(case: Case, network: Network) -> Scores:
    """Scores of one case."""
    study, truth = case.read()
    started = time.perf_counter()
    segmentation = segment(study, network)
    seconds = time.perf_counter() - started
    spreads = volume_spreads(segmentation)
    return {
        "patient": case.patient,
        "model": network.model_id,
        "regions": {
            region.name: _plain(found)
            | {"spread": round(spreads[region], 4)}
            | _doubt(segmentation, region, region.mask(truth))
            for region, found in score(segmentation.labels, truth, study.grid).items()
        },
        "naive": asdict(naive_scores(segmentation.labels, truth, study.grid)),
        "naive_empty": asdict(naive_scores(np.zeros_like(truth), truth, study.grid)),
        "seconds": round(seconds, 2),
    }


def evaluate_patches(data: Path, fold: Path) -> Scores:
    """Score a network on the lesion patches of further patients whom it never saw.

    They are of the resolution of the cubes, and show a lesion without the head around it.

    Returns
    -------
    dict
        ``patients`` and ``cubes``, how many; ``dice`` and reliability ``bins``, by region, of every
        cube.
    """
    info = read_bundle(fold)
    parts = split(find_cases(data), info.training)
    of_heads = {case.patient for case in (*parts.train, *parts.validation, *parts.test)}
    wanted = unseen(data, parts, info.training) - of_heads
    cubes = read_cubes(data, excluded=cube_patients(data) - wanted)
    found: Scores = {region.name: [] for region in Region}
    bins: Scores = {region.name: [] for region in Region}
    if cubes is None:
        return {"patients": 0, "cubes": 0, "dice": found, "bins": bins}
    network = replace(load_network(fold), standardised=False)  # patches are z-scores
    for patch in cubes.each():
        tables = zip(patch.z_tables, np.moveaxis(patch.images, -1, 0), strict=True)
        tensor = np.zeros((*PATCH, len(Modality)), np.float32)
        i, j, k = patch.labels.shape
        tensor[:i, :j, :k] = np.stack([table[codes] for table, codes in tables], axis=-1)
        stored = region_probabilities(tensor, network)[:i, :j, :k]
        labels, _ = labels_and_specks(stored, Grid(patch.labels.shape, np.eye(4)))
        for channel, region in enumerate(Region):
            truth = region.mask(patch.labels)
            found[region.name].append(dice(region.mask(labels), truth))
            bins[region.name].append(reckon(*doubtful(stored[..., channel], truth)).plain())
    return {"patients": len(wanted), "cubes": len(cubes.images), "dice": found, "bins": bins}


def input_check(cases: Sequence[Case]) -> dict[str, int]:
    """How often the app's check stops a sound study, and how often it notices swapped scans.

    Returns
    -------
    dict
        ``studies``; ``stopped``, how many of them were refused or asked about; ``swaps``, studies
        with two scans in each other's slot; ``noticed``, how many of these were asked about.
    """
    counts = dict.fromkeys(("studies", "stopped", "swaps", "noticed"), 0)
    for case in cases:
        counts["studies"] += 1
        try:
            intake = read_study_folder(case.segmentation.parent)
        except UserError:
            counts["stopped"] += 1
            continue
        counts["stopped"] += any(notice.consent for notice in intake.notices)
        for a, b in combinations(Modality, 2):
            swapped = dict(intake.study.scans)
            swapped[a], swapped[b] = swapped[b], swapped[a]
            counts["swaps"] += 1
            counts["noticed"] += bool(likely_arrangement(swapped))
    return counts


def pooled(tested: Mapping[str, Scores], validated: Mapping[str, Scores]) -> dict[str, Any]:
    """What ``metrics.json`` holds.

    Returns
    -------
    dict
        ``cases`` and ``validation`` with the scores of every region; of the former ``summary``
        with mean, median, quartiles and a bootstrap 95 % interval of the mean over patients,
        ``calibration`` with the reliability bins, and the means of ``naive`` and ``naive_empty``:
        what naive projects would report, of these masks and of a mask without any tumour.
    """
    cases = list(tested.values())
    return {
        "cases": dict(tested),
        "validation": dict(validated),
        "summary": {
            region.name: {
                name: summary([case["regions"][region.name][name] for case in cases])
                for name in SUMMARISED
            }
            for region in Region
        },
        "calibration": {
            region.name: _calibration([case["regions"][region.name]["bins"] for case in cases])
            for region in Region
        },
        **{key: _means([case[key] for case in cases]) for key in ("naive", "naive_empty")},
    }


def without(network: Network, modality: Modality) -> Network:
    """The same network, blind to one scan: how it bears what the app would not let it be given."""
    channel = list(Modality).index(modality)

    def blind(run: Run) -> Run:
        def blinded(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
            seen = tensor.copy()
            seen[..., channel] = 0
            return run(seen)

        return blinded

    mirrored = network.mirrored and blind(network.mirrored)
    return replace(network, run=blind(network.run), mirrored=mirrored)


def _means(cases: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([case[name] for case in cases])) for name in cases[0]}


def _plain(found: RegionScores) -> Scores:
    return {
        **{k: v for k, v in asdict(found).items() if k != "lesions"},
        "volume_error_ml": found.volume_error_ml,
        "absolute_volume_error_ml": found.absolute_volume_error_ml,
        "lesion_dice": found.lesions.dice,
        "lesions_found": found.lesions.found,
        "lesions_missed": found.lesions.missed,
        "lesions_false": found.lesions.false,
    }


def _doubt(segmentation: Segmentation, region: Region, truth: NDArray[np.bool_]) -> Scores:
    channel = segmentation.probabilities[..., list(Region).index(region)]
    return {"bins": reckon(*doubtful(channel, truth)).plain()}


def _calibration(cases: Sequence[Mapping[str, Sequence[float]]]) -> Scores:
    """Bins of several cases, voxel by voxel, and their calibration error."""
    voxels = np.array([bins["voxels"] for bins in cases])
    some = np.maximum(1, voxels.sum(axis=0))
    together = Reckoning(
        voxels.sum(axis=0),
        (voxels * [bins["probability"] for bins in cases]).sum(axis=0) / some,
        (voxels * [bins["frequency"] for bins in cases]).sum(axis=0) / some,
    )
    return {
        **together.plain(),
        "error": round(together.error, 4),
        "error_in_doubt": round(together.error_in_doubt, 4),
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean, median, quartiles, and the bootstrap 95 % interval of the mean (percentile method)."""
    array = np.array(values)
    rng = np.random.default_rng(0)
    means = rng.choice(array, (RESAMPLES, len(array))).mean(axis=1)
    q1, median, q3 = np.percentile(array, [25, 50, 75])
    low, high = np.percentile(means, [2.5, 97.5])
    found = {"mean": array.mean(), "median": median, "q1": q1, "q3": q3, "low": low, "high": high}
    return {name: round(float(value), 4) for name, value in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of BraTS cases")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="a model folder")
    parser.add_argument("--set", choices=("test", "validation", "train"), default="test")
    parser.add_argument("--dry", action="store_true", help="print the scores, write nothing")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folds = folds_of(arguments.model) or [arguments.model]
    try:
        tested = _measured(arguments.data, folds, arguments.set)
        writes = arguments.set == "test" and not arguments.dry
        validated = _measured(arguments.data, folds, "validation") if writes else {}
        blinded = _dice_without(arguments.data, folds) if writes else {}
        patches = _patches(arguments.data, folds) if writes else {}
        meant = averaged(arguments.data, folds) if writes else {}
        checked = input_check(find_cases(arguments.data)) if writes else {}
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    metrics = pooled(tested, validated)
    LOG.info(json.dumps(metrics["summary"], indent=1))
    if writes:
        further = {"without": blinded, "patches": patches, "averaged": meant}
        further["input_check"] = checked
        _write(arguments.model, folds, metrics | further)
    return 0


def _measured(
    data: Path, folds: Sequence[Path], part: str, blind_to: Modality | None = None
) -> dict[str, Scores]:
    """Scores of each network's own cases of a part of the data."""
    found: dict[str, Scores] = {}
    for fold in folds:
        network = load_network(fold)
        if blind_to is not None:
            network = without(network, blind_to)
        found |= evaluate(named_cases(data, read_bundle(fold).cases[part]), network)
    return found


def _dice_without(data: Path, folds: Sequence[Path]) -> Scores:
    """Mean Dice of the test patients when one scan is taken away."""
    found = {}
    for modality in Modality:
        cases = _measured(data, folds, "test", modality).values()
        blind = {r.name: [case["regions"][r.name]["dice"] for case in cases] for r in Region}
        found[modality.name] = _rounded({name: np.mean(d) for name, d in blind.items()})
    return found


def averaged(data: Path, folds: Sequence[Path]) -> dict[str, Scores]:
    """What the mean of several networks gives on patients whom none of them learnt from.

    Returns
    -------
    dict
        By case, of those that two folds or more did not train on: ``networks``, how many these are;
        Dice of each region by each of them ``alone``, on average, and by all ``together``.
    """
    infos = [read_bundle(fold) for fold in folds]
    found = {}
    for case in find_cases(data):
        blind = [info for info in infos if case.name not in info.cases["train"]]
        if len(blind) < LEAST_AVERAGED:
            continue
        alone = [load_together([info]) for info in blind]
        study, truth = case.read()

        def scored(network: Network) -> dict[str, float]:
            labels = segment(study, network).labels  # noqa: B023  # called within this round
            return {r.name: dice(r.mask(labels), r.mask(truth)) for r in Region}  # noqa: B023

        found[case.name] = {
            "networks": len(blind),
            "alone": _rounded(_means([scored(network) for network in alone])),
            "together": _rounded(scored(load_together(blind))),
        }
    return found


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in values.items()}


def _patches(data: Path, folds: Sequence[Path]) -> Scores:
    """What the networks make of the patches that none of them saw; empty without any."""
    each = [evaluate_patches(data, fold) for fold in folds]
    if not sum(found["cubes"] for found in each):
        return {}

    def of_every_cube(key: str) -> dict[str, list[Any]]:
        return {r.name: [value for found in each for value in found[key][r.name]] for r in Region}

    return {
        **{key: sum(found[key] for found in each) for key in ("patients", "cubes")},
        "dice": {name: summary(values) for name, values in of_every_cube("dice").items()},
        "calibration": {n: _calibration(bins) for n, bins in of_every_cube("bins").items()},
    }


def _write(folder: Path, folds: Sequence[Path], metrics: Scores) -> None:
    measured = {"measured": {fold.name: read_bundle(fold).sha256 for fold in folds}}
    whole = papers(read_members(folder)) | measured | metrics
    (folder / METRICS).write_text(json.dumps(whole, indent=1) + "\n")
    write_card(folder)


if __name__ == "__main__":
    sys.exit(main())
