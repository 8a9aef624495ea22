"""The command: ``python -m tests.benchmarks.speed --help``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from engine.system import devices
from tests.benchmarks.speed import images, machine, report
from tests.benchmarks.speed.flops import share_of_peak
from tests.benchmarks.speed.measure import Measurement, Setting, run_ours, run_reference, why_not
from tests.benchmarks.speed.scenarios import DEFAULT, NETWORKS, Scenario, first_weights, parse_scenario

WHO = ["tltui", "tutorial", "fastai"]


def main() -> None:
    """Measure what was asked for, print it as a table, write it as JSON after each training."""
    asked = _arguments()
    console = Console(highlight=False, width=180)
    device = devices.choose_device(asked.device)
    described = machine.describe(device)
    asked.folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(asked.folder.resolve(), images.write_images(asked.folder, asked.images).resolve(), str(device))
    counts = {split: images.count(setting.images, split) for split in ("train", "val")}
    for who in asked.who:
        if reason := why_not(who):
            console.print(reason)
    for model in asked.model:
        console.print(f"{model}: the first weights are {NETWORKS[model].weights}")

    measurements: list[Measurement] = []
    for one in _measure_all(asked, setting):
        console.print(f"{one.scenario} {one.model} {one.who} seed {one.seed}: {one.seconds:.1f} s")
        measurements.append(one)
        shares = share_of_peak(measurements, device, counts)
        report.write_json(
            asked.output,
            measurements,
            {
                "machine": described,
                "images": counts,
                "first_weights": {model: NETWORKS[model].weights for model in asked.model},
                "bf16_peak_shares": shares,
            },
        )
    console.print(f"\n{counts['train']} training and {counts['val']} validation images; {described['device']}\n")
    console.print(report.table(measurements, counts["train"], shares))
    console.print(f"\nwrote {asked.output}")


def _measure_all(asked: argparse.Namespace, setting: Setting) -> Iterator[Measurement]:
    """The trainings side by side: for each network and seed, ours and then the references of each scenario."""
    who = [name for name in asked.who if why_not(name) is None]
    for model in asked.model:
        network = NETWORKS[model]
        weights = first_weights(network, setting.folder)
        for seed in range(asked.seeds):
            run_before: dict[tuple[str, str, int], Measurement] = {}
            for scenario in asked.scenario:
                for name in who:
                    if name == "tltui":
                        yield run_ours(setting, scenario, network, model, weights, seed)
                        continue
                    epochs = _epochs_to_run(asked, name, scenario)
                    key = (name, scenario.trains, epochs)
                    if key not in run_before:
                        run_before[key] = run_reference(setting, name, scenario, epochs, network, model, weights, seed)
                    yield run_before[key].as_if(scenario)


def _epochs_to_run(asked: argparse.Namespace, who: str, scenario: Scenario) -> int:
    if not asked.full:
        return asked.reference_epochs
    if who == "tutorial":  # its first epochs are the same however many follow
        return max(other.epochs for other in asked.scenario if other.trains == scenario.trains)
    return scenario.epochs


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.speed", description=__doc__)
    add = parser.add_argument
    add(
        "--scenario",
        nargs="+",
        type=parse_scenario,
        default=[parse_scenario(name) for name in DEFAULT],
        help="head-10: the head, 10 epochs, cold cache; again-10: then once more with another head and optimizer; "
        "app-10: that as from the app, whose engine waits; stage-10: the last stage, too; all-10: everything; with any "
        "number of epochs  [default: all of these]",
    )
    add("--model", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    add("--who", nargs="+", choices=WHO, default=WHO)
    add("--seeds", type=int, default=1, help="trainings of each kind, with seeds 0, 1 …; the table has their mean")
    add(
        "--reference-epochs",
        type=int,
        default=3,
        metavar="K",
        help="epochs that the references really run, 2 or more; further ones are extrapolated  [default: 3]",
    )
    add("--full", action="store_true", help="the references run all their epochs")
    add("--images", type=int, default=0, metavar="N", help="only N of the 2,624 images, to try the benchmark")
    add("--device", default="auto", help="auto, cpu, cuda …")
    add("--folder", type=Path, default=Path("build/speed"), help="for images, weights, caches and runs")
    add("--output", type=Path, default=Path("build/speed.json"))
    asked = parser.parse_args()
    if asked.reference_epochs < 2:
        parser.error("--reference-epochs takes at least 2: the first epoch is no measure of the others")
    return asked


if __name__ == "__main__":
    main()
