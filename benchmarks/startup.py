"""Seconds to import Keras with TensorFlow: as it comes, and lean as kerasnn imports it, in alternating fresh processes.

python benchmarks/startup.py --repeats 5
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]

IMPORTS = {
    "import keras": "import keras",
    "import_keras()": "from kerasnn.training.lean_import import import_keras; import_keras()",
}


def seconds(program: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats

    taken: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for repeat in range(repeats + 1):
        for name in sorted(IMPORTS, reverse=bool(repeat % 2)):
            taken[name].append(seconds(IMPORTS[name]))
    print("| import | seconds, median (min–max) |\n| --- | --- |")
    for name, all_of_it in taken.items():
        warm = all_of_it[1:]  # The first round reads the files from the disk.
        print(f"| `{name}` | {median(warm):.1f} ({min(warm):.1f}–{max(warm):.1f}) |")
    plain, lean = (median(times[1:]) for times in taken.values())
    print(f"\nLean takes {lean / plain:.2f} of the time.")


if __name__ == "__main__":
    main()
