"""Run the tests marked ``heavy`` file by file, each in a process of its own, so that a break costs one file.

usage: python scripts/heavy.py [PATH ...] [-k EXPRESSION] [--processes N] [--limit SECONDS] [--again] [--results FOLDER]

Each file gets a line as it ends, a row in ``FOLDER/status.tsv`` and its output, with the slowest tests, in
``FOLDER/<file>.log``. Started again, it leaves out the files that passed on the same sources (committed or not), and
begins with those that failed. The table at the end names every file; the exit status is 1 unless all of them passed.
"""

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest", "-m", "heavy", "-p", "no:cacheprovider"]
NO_TESTS = 5  # pytest's exit status


class Row(NamedTuple):
    """What a file came to: ``result`` is passed, failed, broke or timeout, ``sources`` the state of the checkout."""

    sources: str
    file: str
    selection: str
    result: str
    seconds: int
    summary: str


class Runner:
    """Starts the files, and ends those that still run when it is told to."""

    def __init__(self, results: Path, sources: str, selection: str, limit: float | None, threads: int | None):
        self.results, self.sources, self.selection, self.limit = results, sources, selection, limit
        self.environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    def run(self, file: str) -> Row | None:
        """One file; nothing is returned for a file that was not begun, or was ended, because of an interruption."""
        if self.stopped:
            return None
        begun = time.monotonic()
        log = self.results / (file.replace("/", "_") + ".log")
        command = [*PYTEST, file, "--durations=5", "-o", "tmp_path_retention_policy=failed", *keyword(self.selection)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
            self.running.add(process)
            if self.stopped:
                end(process)
            try:
                result = outcome(process.wait(self.limit))
            except subprocess.TimeoutExpired:
                end(process)
                result = "timeout"
            self.running.discard(process)
        if self.stopped:
            return None
        text = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        seconds = round(time.monotonic() - begun)
        return Row(self.sources, file, self.selection, result, seconds, text[-1].strip("= ") if text else "")

    def stop(self) -> None:
        """End what runs and begin nothing more."""
        self.stopped = True
        for process in list(self.running):
            end(process)


def keyword(selection: str) -> list[str]:
    """The part of a command that selects tests by name."""
    return ["-k", selection] if selection else []


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session, with all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def outcome(status: int) -> str:
    """The word for an exit status of pytest: anything but passed and failed means that the file broke."""
    return {0: "passed", 1: "failed"}.get(status, "broke")


def sources() -> str:
    """Git's name of all that is in the checkout, committed or not; empty without git, then nothing is left out."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        # not of a repository that ignores this folder
        ours = ["git", "ls-files", "--error-unmatch", "scripts/heavy.py"]
        for command in (["git", "add", "--all", "."], ours, ["git", "write-tree"]):
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
            if done.returncode:
                return ""
    return done.stdout.strip()


def collected(paths: list[str], selection: str) -> list[str]:
    """The files that have heavy tests, as pytest finds them.

    Raises:
        SystemExit: pytest cannot collect them, or there are none.
    """
    command = [*PYTEST, "--collect-only", "-qq", *paths, *keyword(selection)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == NO_TESTS:
        sys.exit(
            f"no heavy tests in {' '.join(paths) or 'tests'}" + (f" that match '{selection}'" if selection else "")
        )
    if done.returncode:
        sys.exit(f"the heavy tests cannot be collected:\n{done.stdout}{done.stderr}")
    return list(dict.fromkeys(line.rsplit(": ", 1)[0] for line in done.stdout.splitlines() if ".py: " in line))


def read_rows(path: Path) -> list[Row]:
    """The rows of earlier runs, the oldest first."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [Row(*row[:4], int(row[4]), row[5]) for row in csv.reader(file, delimiter="\t")]


def table(files: Iterable[str], rows: dict[str, Row]) -> str:
    """One line for each file: what it came to, its seconds and pytest's last line."""
    lines = []
    for file in files:
        row = rows.get(file)
        lines.append(f"not reached         {file}" if row is None else line(row))
    return "\n".join(lines)


def line(row: Row) -> str:
    """A row as it is printed."""
    return f"{row.result:<11}{row.seconds:>6} s {row.file}  {row.summary}"


def in_order(files: list[str], earlier: list[Row]) -> list[str]:
    """Failed ones first, then those that never ran as they are listed, then by the seconds that they took last."""
    last = {row.file: row for row in earlier}

    def rank(file: str) -> tuple[bool, int]:
        return (last[file].result == "passed", last[file].seconds) if file in last else (True, 0)

    return sorted(files, key=rank)


def run_all(runner: Runner, files: list[str], processes: int, status: Path) -> list[Row]:
    """Run the files and write each row as it comes; an interruption ends them all and keeps what is there."""
    rows: list[Row] = []
    with ThreadPoolExecutor(processes) as pool:
        try:
            for done in as_completed([pool.submit(runner.run, file) for file in files]):
                row = done.result()
                if row is None:
                    continue
                rows.append(row)
                with status.open("a", encoding="utf-8", newline="") as file:
                    csv.writer(file, delimiter="\t").writerow(row)
                print(line(row), flush=True)
        except KeyboardInterrupt:
            runner.stop()
    return rows


def main() -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files or folders of tests (default: all)")
    parser.add_argument("-k", dest="selection", default="", metavar="EXPRESSION", help="pytest's selection by name")
    parser.add_argument("--processes", type=int, default=2, help="files at a time (default: 2)")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="end a file that takes longer (default: none)")
    parser.add_argument("--again", action="store_true", help="run the files that passed on these sources as well")
    parser.add_argument("--results", type=Path, default=ROOT / "outputs" / "heavy", metavar="FOLDER")
    options = parser.parse_args()
    if options.processes < 1:
        parser.error(f"--processes must be at least 1, not {options.processes}")
    options.results.mkdir(parents=True, exist_ok=True)
    status, state = options.results / "status.tsv", sources()
    files, earlier = collected(options.paths, options.selection), read_rows(status)
    here = {row.file: row for row in earlier if state and row.sources == state and row.selection == options.selection}
    known = {} if options.again else {file: row for file, row in here.items() if row.result == "passed"}
    left = in_order([file for file in files if file not in known], earlier)
    print(f"{len(files)} files, {len(files) - len(left)} passed before on these sources; {options.results}", flush=True)
    threads = 1 if options.processes > 1 else None
    runner = Runner(options.results, state, options.selection, options.limit, threads)
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell's background leaves SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    known |= {row.file: row for row in run_all(runner, left, options.processes, status)}
    passed = sum(file in known and known[file].result == "passed" for file in files)
    print(f"\n{table(files, known)}\n{passed} of {len(files)} files passed")
    return int(passed < len(files))


if __name__ == "__main__":
    sys.exit(main())
