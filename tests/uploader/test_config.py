"""Options come from flags, environment and file, and what is wrong with them is said before anything begins."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import pytest
from argus_uploader import config
from argus_uploader.cli import main
from argus_uploader.config import OPTIONS, Settings
from argus_uploader.errors import BadConfig, Exit
from argus_uploader.link import Link
from argus_uploader.pace import Pace
from argus_uploader.tokens import Token, write_secret

from tests.uploader.vehicle import ROOT


def load(*flags: str, **environment: str) -> Settings:
    parser = argparse.ArgumentParser()
    config.add_flags(parser)
    return config.load(parser.parse_args(flags), environment)


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "uploader.conf"
    file.write_text(
        "[argus-uploader]\nurl = https://file\nspool = /file\nstate = /file\nsettle = 2min\n"
        "[priorities]\n*.LOG = 7\n[kinds]\n*.blf = can\n[software]\nLogger = 1.6 %b\n"
    )
    found = load("--config", str(file), "--spool", "/flag", ARGUS_UPLOADER_SPOOL="/env", ARGUS_UPLOADER_STATE="/env")
    assert (found.url, found.spool, found.state, found.settle) == ("https://file", "/flag", "/env", 120.0)
    assert (found.priorities, found.kinds, found.software) == ({"*.LOG": 7}, {"*.blf": "can"}, {"Logger": "1.6 %b"})


def test_each_option_is_a_setting() -> None:
    rules = {"priorities", "kinds", "software"}
    assert {option.key for option in OPTIONS} == {field.name for field in dataclasses.fields(Settings)} - rules


def test_the_example_is_read_and_names_every_option() -> None:
    example = ROOT / "deploy" / "argus-uploader.conf"
    load("--config", str(example))
    text = example.read_text()
    assert [option.name for option in OPTIONS if f"{option.name} =" not in text] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[argus-uploader]\nspoool = /x\n", "spoool"),
        ("[other]\nx = 1\n", r"\[other\]"),
        ("[argus-uploader]\nsettle = soon\n", "settle in the configuration file: 'soon' is no length of time"),
        ("[argus-uploader]\nafter = burn\n", "delete, move, keep"),
        ("[argus-uploader]\nslice = 10\n", "slice must be at least"),
        ("[argus-uploader]\nwhen-full = oldest\n", "min-free"),
        ("[priorities]\n*.log = high\n", r"\*.log"),
        ("no section", "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_name(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "uploader.conf"
    file.write_text(content)
    with pytest.raises(BadConfig, match=said):
        load("--config", str(file))


def test_sizes_and_times_have_units() -> None:
    assert [config.size(text) for text in ("10", "1k", "64M", "1.5GiB", "2 T")] == [10, 1024, 64 * 2**20, 3 * 2**29, 2**41]
    assert [config.seconds(text) for text in ("10", "1.5s", "5min", "2h", "1 d")] == [10, 1.5, 300, 7200, 86400]


@pytest.mark.parametrize("url", ["", "argus.example.com", "ftp://argus", "https://argus:port", "http://argus.example.com"])
def test_an_address_that_is_none_or_shows_the_token_is_refused(url: str) -> None:
    import threading

    stop = threading.Event()
    with pytest.raises(BadConfig):
        Link(Settings(url=url).server(), Pace(0, stop), stop)


def test_a_token_that_others_can_read_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "token"
    write_secret(file, "argus_v1_x")
    assert file.stat().st_mode & 0o777 == 0o600
    assert Token(str(file))() == "argus_v1_x"
    file.chmod(0o640)
    (tmp_path / "spool").mkdir()
    words = ["--once", "--url", "http://localhost:9", "--spool", str(tmp_path / "spool"), "--token-file", str(file)]
    assert main(words) == Exit.BAD_CONFIG
    assert f"chmod 600 {file}" in capsys.readouterr().err


def test_a_token_comes_from_the_environment_and_a_new_file_is_seen(tmp_path: Path) -> None:
    assert Token("", {"ARGUS_UPLOADER_TOKEN": " abc\n"})() == "abc"
    with pytest.raises(BadConfig, match="a token is needed"):
        Token("", {})
    file = tmp_path / "token"
    write_secret(file, "first")
    token = Token(str(file))
    assert token() == "first"
    write_secret(file, "second")
    assert token() == "second"
    file.write_bytes(b"two words")
    with pytest.raises(BadConfig, match="no token"):
        token()
    file.unlink()
    with pytest.raises(BadConfig, match="enrol"):
        token()


def test_no_flag_takes_a_token() -> None:
    assert not [option.name for option in OPTIONS if "token" in option.name and not option.name.endswith("-file")]
