"""The command line: `argus-uploader run`, `enrol`, `rotate-token`, `status`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

from argus_uploader import __version__, config
from argus_uploader.config import Settings
from argus_uploader.errors import BadConfig, Exit, NotAllowed, Problem, Stopped, TryLater, UploaderError
from argus_uploader.identity import Enrolment, rotate
from argus_uploader.journal import Journal
from argus_uploader.link import Link
from argus_uploader.pace import Pace
from argus_uploader.progress import for_terminal, human, printable
from argus_uploader.spool import Spool, names
from argus_uploader.tokens import Token, read_secret
from argus_uploader.uploader import Uploader, rank

COMMANDS = ("run", "enrol", "rotate-token", "status")
ENROLMENT_VARIABLE = "ARGUS_UPLOADER_ENROLMENT_TOKEN"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or (words[0].startswith("-") and words[0] not in {"-h", "--help", "--version"}):
        words = ["run", *words]
    flags = _parser().parse_args(words)
    try:
        settings = config.load(flags)
        return int({"run": _run, "enrol": _enrol, "rotate-token": _rotate, "status": _status}[flags.command](flags, settings))
    except UploaderError as error:
        print(f"argus-uploader: {error}", file=sys.stderr)
        return int(error.exit_code)
    except (Problem, TryLater) as error:
        print(f"argus-uploader: {error}", file=sys.stderr)
        return int(Exit.LEFT if isinstance(error, TryLater) else Exit.FAILED)
    except (Stopped, KeyboardInterrupt):
        return int(Exit.INTERRUPTED)


def run() -> NoReturn:
    """The console script: SIGTERM and SIGINT end it at once; nothing is lost by that, the next start goes on."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    sys.exit(main())


def _stop(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Stopped


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="argus-uploader", description="Brings the recordings of a vehicle to Argus.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{" + ",".join(COMMANDS) + "}")
    running = commands.add_parser("run", help="send what lies in the spool (the default)", description="Sends what lies in the spool.")
    running.add_argument("--once", action="store_true", help="end when everything was sent, instead of watching the spool")
    running.add_argument("--dry-run", action="store_true", help="say what would be sent, and in which order; ask and change nothing")
    enrol = commands.add_parser("enrol", help="ask for a token, and wait until somebody has accepted the vehicle")
    enrol.add_argument("--vin", required=True)
    enrol.add_argument("--name", default="", help="what people call the vehicle")
    enrol.add_argument("--software", action="append", default=[], metavar="NAME=VERSION")
    enrol.add_argument("--enrolment-token-file", metavar="FILE", help=f"or {ENROLMENT_VARIABLE} in the environment")
    enrol.add_argument("--wait", metavar="X", default="0", help="give up after so long (default: never)")
    rotating = commands.add_parser("rotate-token", help="replace the token by a new one")
    status = commands.add_parser("status", help="what the journal knows of batches on their way, as JSON")
    for command in (running, enrol, rotating, status):
        config.add_flags(command)
    return parser


def _run(flags: argparse.Namespace, settings: Settings) -> int:
    if flags.dry_run:
        return _dry_run(settings)
    token = Token(settings.token_file, has_certificate=bool(settings.client_cert))
    token()
    progress = for_terminal()
    try:
        return Uploader(settings, token, progress).run(once=flags.once)
    except Stopped:
        progress.event("stopped")
        return Exit.INTERRUPTED if flags.once else Exit.OK
    except NotAllowed as refused:
        progress.event("not_allowed", reason=str(refused))
        raise
    finally:
        progress.close()


def _dry_run(settings: Settings) -> int:
    spool = Spool(settings)
    journal = Journal(settings.state_folder) if settings.state_folder.is_dir() else None
    try:
        look = spool.look(journal.claimed() if journal else {}, all_sessions=True)
    except OSError as error:
        raise BadConfig(f"the spool {settings.spool} cannot be read: {error.strerror}") from error
    for work in sorted([*(journal.under_way() if journal else ()), *look.candidates], key=rank):
        where = printable(work.folder) if work.folder else "loose files"
        print(f"batch  {where}  priority {work.priority}  {human(work.size)}")
        if hasattr(work, "files"):
            called = names(work.folder, [file.path for file in work.files])
            for file in sorted(work.files, key=lambda file: (-file.priority, file.size, file.path)):
                print(f"  {printable(called[file.path])}  {human(file.size)}  priority {file.priority}")
        else:
            for item in work.waiting():
                print(f"  {printable(item.name)}  {human(item.size)}  priority {item.priority}")
    if look.growing:
        print(f"{look.growing} more may still be written to")
    return Exit.OK


def _enrol(flags: argparse.Namespace, settings: Settings) -> int:
    if not settings.token_file:
        raise BadConfig("token-file is needed: where the token will be kept")
    token_file = Path(settings.token_file)
    said = {"vin": flags.vin}
    if flags.name:
        said["name"] = flags.name
    software = {**settings.software, **_pairs(flags.software)}
    if software:
        said["software"] = software
    stop = threading.Event()
    link = Link(settings.server(), Pace(0, stop), stop)
    kept = token_file.with_name(token_file.name + ".enrolment")
    enrolment = Enrolment(link, kept, lambda line: print(line, flush=True), stop, longest_wait_s=settings.backoff_limit)
    try:
        patience = config.seconds(flags.wait)
    except ValueError as error:
        raise BadConfig(f"--wait: {error}") from error
    enrolment.run(said, lambda: _enrolment_token(flags), token_file, patience_s=patience)
    return Exit.OK


def _enrolment_token(flags: argparse.Namespace) -> str:
    if flags.enrolment_token_file:
        try:
            return read_secret(Path(flags.enrolment_token_file))
        except OSError as error:
            raise BadConfig(f"{flags.enrolment_token_file} cannot be read: {error.strerror}") from error
    text = os.environ.get(ENROLMENT_VARIABLE, "").strip()
    if not text:
        raise BadConfig(f"an enrolment token is needed: --enrolment-token-file, or {ENROLMENT_VARIABLE} in the environment")
    return text


def _rotate(flags: argparse.Namespace, settings: Settings) -> int:
    if not settings.token_file:
        raise BadConfig("token-file is needed: a token in the environment cannot be replaced")
    stop = threading.Event()
    rotate(Link(settings.server(), Pace(0, stop), stop), Token(settings.token_file), Path(settings.token_file))
    print(f"the new token is in {settings.token_file}")
    return Exit.OK


def _status(flags: argparse.Namespace, settings: Settings) -> int:
    known = Journal(settings.state_folder).described() if settings.state_folder.is_dir() else []
    print(json.dumps(known, indent=1))
    return Exit.OK


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, version = text.partition("=")
        if not equals or not name:
            raise BadConfig(f"--software {text!r}: NAME=VERSION is needed")
        pairs[name] = version
    return pairs
