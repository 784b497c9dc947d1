"""What the program is told: flags before environment before configuration file before defaults."""

from __future__ import annotations

import argparse
import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from argus_uploader.errors import BadConfig
from argus_uploader.link import Server

SECTION = "argus-uploader"
ENV = "ARGUS_UPLOADER_"
DEFAULT_FILE = Path("/etc/argus-uploader.conf")
SETTLED_BY = ("rest", "marker", "rename")
AFTER = ("delete", "move", "keep")
DROP = ("never", "oldest")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)?", re.IGNORECASE)
_TRUE, _FALSE = {"1", "yes", "true", "on"}, {"0", "no", "false", "off", ""}


def size(text: str) -> int:
    """Bytes: `64M` are 64 MiB; ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size (for example 64M)")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def seconds(text: str) -> float:
    """Seconds: `5min` are 300; ValueError."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no length of time (for example 30s, 5min, 2h)")
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600, "d": 86400}[(match[2] or "s").lower()]


def _truth(text: str) -> bool:
    if text.strip().lower() not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is neither yes nor no")
    return text.strip().lower() in _TRUE


def _choice(*known: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text.strip().lower() not in known:
            raise ValueError(f"{text!r} is none of {', '.join(known)}")
        return text.strip().lower()

    return choose


def _number(text: str) -> int:
    return int(text)


def _text(text: str) -> str:
    return text.strip()


@dataclass(frozen=True)
class Option:
    """One option: its name as in the file and, with `--`, as a flag; how its text is read; what it is for."""

    name: str
    read: Callable[[str], Any]
    help: str

    @property
    def key(self) -> str:
        """Its name as an attribute."""
        return self.name.replace("-", "_")


LARGEST_PRIORITY = 32767


@dataclass(frozen=True)
class Settings:
    """Checked options. Sizes are bytes, times are seconds; `priorities` and `kinds` map patterns of names."""

    url: str = ""
    token_file: str = ""
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    allow_http: bool = False
    spool: str = ""
    state: str = ""
    poll: float = 2.0
    settled_by: str = "rest"
    settle: float = 10.0
    session_gap: float = 300.0
    batch_files: int = 500
    batch_bytes: int = 4 * 1024**3
    after: str = "delete"
    sent_folder: str = ""
    slice: int = 8 * 1024**2
    checksums: bool = False
    bandwidth: int = 0
    connect_timeout: float = 15.0
    stall_timeout: float = 30.0
    answer_timeout: float = 90.0
    backoff: float = 1.0
    backoff_limit: float = 300.0
    give_up: float = 300.0
    min_free: int = 0
    when_full: str = "never"
    kind: str = ""
    priority: int = 0
    reason: str = ""
    priorities: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)

    def server(self) -> Server:
        """The part about the server; BadConfig without an address."""
        if not self.url:
            raise BadConfig("url is needed: the address of the server")
        return Server(
            self.url.rstrip("/"),
            self.ca_file,
            self.client_cert,
            self.client_key,
            self.allow_http,
            self.connect_timeout,
            self.stall_timeout,
            self.answer_timeout,
        )

    @property
    def spool_folder(self) -> Path:
        """Where recordings come from; BadConfig without one."""
        if not self.spool:
            raise BadConfig("spool is needed: the folder with the recordings")
        return Path(self.spool)

    @property
    def state_folder(self) -> Path:
        """Where the journal lies: beside the recordings, hidden, unless it is said otherwise."""
        return Path(self.state) if self.state else self.spool_folder / ".argus-uploader"

    @property
    def sent(self) -> Path:
        """Where proved files are moved to."""
        return Path(self.sent_folder) if self.sent_folder else self.spool_folder / "sent"


OPTIONS = (
    Option("url", _text, "address of the server, https://argus.example.com"),
    Option("token-file", _text, "file with the vehicle's token, readable by its owner only"),
    Option("ca-file", _text, "certificates of the authorities that are trusted instead of the system's"),
    Option("client-cert", _text, "certificate that the vehicle shows (PEM)"),
    Option("client-key", _text, "its key, where it is not in the same file"),
    Option("allow-http", _truth, "send the token over plain http to another host"),
    Option("spool", _text, "folder that is watched"),
    Option("state", _text, "folder for the journal; it must survive a restart"),
    Option("poll", seconds, "how often the spool is looked at"),
    Option("settled-by", _choice(*SETTLED_BY), "rest: unchanged for `settle`, or a .done marker; marker: only with it; rename: at once"),
    Option("settle", seconds, "how long a file must rest before it is taken"),
    Option("session-gap", seconds, "loose files further apart than this belong to different batches"),
    Option("batch-files", _number, "most loose files of a batch"),
    Option("batch-bytes", size, "most bytes of loose files of a batch"),
    Option("after", _choice(*AFTER), "what becomes of a file that the server has proved to hold"),
    Option("sent-folder", _text, "where `after = move` puts them (default: sent/ in the spool)"),
    Option("slice", size, "most bytes of one request"),
    Option("checksums", _truth, "send a checksum with each request: a cut then loses the whole slice"),
    Option("bandwidth", size, "most bytes a second (0: as fast as it goes)"),
    Option("connect-timeout", seconds, "how long opening a connection may take"),
    Option("stall-timeout", seconds, "how long nothing may move"),
    Option("answer-timeout", seconds, "how long the server may think about a request"),
    Option("backoff", seconds, "longest first wait after a failure; it doubles up to `backoff-limit`"),
    Option("backoff-limit", seconds, "longest wait after a failure, unless the server asks for more"),
    Option("give-up", seconds, "with --once: how long to go on without any progress"),
    Option("min-free", size, "bytes to be kept free on the disk of the spool"),
    Option("when-full", _choice(*DROP), "oldest: below `min-free`, delete sent and then the oldest least important recordings UNSENT"),
    Option("kind", _text, "what a loose file is, where no rule says otherwise"),
    Option("priority", _number, "priority of a file that no rule matches (0 to 32767, the highest first)"),
    Option("reason", _text, "reason of batches that have no metadata.json"),
)
_BY_NAME = {option.name: option for option in OPTIONS}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each option; `--config` for the file."""
    parser.add_argument("--config", metavar="FILE", help=f"configuration file (default: {DEFAULT_FILE}, where there is one)")
    for option in OPTIONS:
        default = getattr(Settings, option.key)
        told = f"{option.help} (default: {default})" if default not in {"", False} else option.help
        parser.add_argument(f"--{option.name}", dest=option.key, metavar="X", help=told.replace("%", "%%"))


def load(flags: argparse.Namespace, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings out of flags, environment and file. BadConfig names what is wrong and where it was said."""
    environment = os.environ if environment is None else environment
    given: dict[str, Any] = {}
    file = _read_file(flags.config or environment.get(ENV + "CONFIG", ""))
    for name, text in file.pop("", {}).items():
        if name not in _BY_NAME:
            raise BadConfig(f"the configuration file has an option that does not exist: {name}")
        given[_BY_NAME[name].key] = _checked(_BY_NAME[name], text, "in the configuration file")
    for option in OPTIONS:
        variable = ENV + option.key.upper()
        for where, said in ((variable, environment.get(variable)), (f"--{option.name}", getattr(flags, option.key, None))):
            if said is not None:
                given[option.key] = _checked(option, said, f"of {where}")
    priorities = {pattern: _priority(text, pattern) for pattern, text in file.pop("priorities", {}).items()}
    settings = Settings(**given, priorities=priorities, kinds=file.pop("kinds", {}), software=file.pop("software", {}))
    if file:
        raise BadConfig(f"the configuration file has a section that does not exist: [{next(iter(file))}]")
    _check_limits(settings)
    return settings


def _read_file(name: str) -> dict[str, dict[str, str]]:
    """The sections; the own one is named ""."""
    path = Path(name) if name else DEFAULT_FILE
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#", ";"), default_section="defaults")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # patterns of names have capitals
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        if name:
            raise BadConfig(f"{path} does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise BadConfig(f"{path} cannot be read: {error}") from error
    return {"" if section == SECTION else section: dict(parser[section]) for section in parser.sections()}


def _checked(option: Option, text: str, where: str) -> Any:
    try:
        return option.read(text)
    except ValueError as error:
        raise BadConfig(f"{option.name} {where}: {error}") from error


def _priority(text: str, where: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= LARGEST_PRIORITY:
        raise BadConfig(f"the priority of {where} is no number from 0 to {LARGEST_PRIORITY}: {text!r}")
    return value


def _check_limits(settings: Settings) -> None:
    _priority(str(settings.priority), "priority")
    for name, least in (("slice", 1024), ("batch_files", 1), ("batch_bytes", 1)):
        if getattr(settings, name) < least:
            raise BadConfig(f"{name.replace('_', '-')} must be at least {least}")
    for name in ("poll", "connect_timeout", "stall_timeout", "answer_timeout", "backoff", "backoff_limit"):
        if getattr(settings, name) <= 0:
            raise BadConfig(f"{name.replace('_', '-')} must be more than 0")
    if settings.when_full == "oldest" and not settings.min_free:
        raise BadConfig("when-full = oldest needs min-free: how much is to be kept free")
    if 0 < settings.bandwidth < 1024:
        raise BadConfig("bandwidth is in bytes a second; less than 1K makes no progress (0: no limit)")
