"""``ccr-diag doctor``: what it finds, what it calls a problem, that it neither waits nor writes."""

import builtins
import json
import os
import re
import socket
import sys
import threading
import time
from collections import namedtuple
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy
import open_clip
import pytest
import torch
from huggingface_hub import constants

import ccr_diag
from ccr_diag import hub as hub_module
from ccr_diag import machine

GIB = 2**30


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """No test asks the real hub: the port is one where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def caches(monkeypatch, tmp_path):
    """Folders of both caches, which are not there yet."""
    monkeypatch.setenv("CCR_DIAG_CACHE", str(tmp_path / "own" / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return SimpleNamespace(own=tmp_path / "own" / "cache", hub=tmp_path / "hub")


@pytest.fixture
def packages(monkeypatch):
    """As if ccr-diag declared these packages, and these were installed."""

    def declare(extras, lines, installed):
        described = Message()
        for extra in extras:
            described["Provides-Extra"] = extra

        def version(name):
            if name not in installed:
                raise machine.PackageNotFoundError(name)
            return installed[name]

        monkeypatch.setattr(machine, "metadata", lambda name: described)
        monkeypatch.setattr(machine, "requires", lambda name: lines)
        monkeypatch.setattr(machine, "version", version)

    return declare


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_it_says_what_is_here_and_writes_nothing(ccr, caches, tmp_path):
    before = files_below(tmp_path)
    done = ccr("doctor", "--format", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert files_below(tmp_path) == before
    assert found["problems"] == []
    versions = found["versions"]
    assert versions["ccr-diag"] == ccr_diag.__version__
    assert versions["python"] == sys.version.split()[0]
    assert (
        versions["torch"] == torch.__version__.split("+")[0]
        or versions["torch"] == torch.__version__
    )
    assert versions["numpy"] == numpy.__version__
    assert versions["open_clip_torch"] == open_clip.__version__
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert GIB / 4 < found["memory"] <= _total_memory()
    assert found["devices"]["auto"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert len(found["devices"]["cuda"]) == torch.cuda.device_count()
    assert "cpu" in found["devices"]["amp_bf16"]
    assert found["weights"][0] == {"model": "embedded", "pretrained": ""}
    assert found["hub"]["unreachable"] == "[Errno 111] Connection refused"


def _total_memory():
    """Of the kernel's own table."""
    return int(re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())[1]) * 1024


def test_the_text_says_the_same_and_how_to_get_weights(ccr, caches):
    found = machine.examine()
    text = ccr("doctor").stdout
    for name, version in found["versions"].items():
        assert re.search(rf"^  {name} +{re.escape(version)}$", text, re.M)
    assert re.search(
        rf"^  features +{re.escape(str(caches.own))} \(0 bytes, .* free\)$", text, re.M
    )
    assert re.search(r"^  --device auto +takes (cpu|cuda|mps)$", text, re.M)
    assert "\n  --model embedded\n" in text
    assert f"into {caches.hub}:" in text
    assert "was not reached ([Errno 111] Connection refused).\n" in text
    assert "--model local-dir:PATH/" in text
    model, tag, _ = machine.EXAMPLE
    assert f"--model {model} --pretrained {tag}\n" in text


def test_the_example_is_what_open_clip_would_fetch():
    model, tag, repository = machine.EXAMPLE
    entry = open_clip.get_pretrained_cfg(model, tag)
    assert entry["hf_hub"].rstrip("/") == repository
    assert open_clip.get_model_config(model)["quick_gelu"] is entry["quick_gelu"] is True


def test_extras_are_named_with_what_they_lack(ccr, packages):
    lines = [
        "numpy>=1.26",
        'old>=1; python_version < "3"',
        'wandb>=0.19; extra == "wandb"',
        'pyarrow>=16; extra == "tables"',
        'here>=1; extra == "tables"',
        'other>=3; extra == "other"',
        'ccr-diag[tables]; extra == "test"',
    ]
    have = {"ccr-diag": "1", "numpy": "1.20", "here": "1.5", "pyarrow": "9.0", "other": "3.0rc1"}
    packages(["wandb", "tables", "other", "test"], lines, have)
    found = machine.examine()
    assert {e["name"]: e["missing"] for e in found["extras"]} == {
        "wandb": ["wandb>=0.19"],
        "tables": ["pyarrow>=16"],
        "other": ["other>=3"],
    }
    assert found["versions"]["numpy"] == "none, but needs >=1.26"
    assert "old" not in found["versions"]
    have |= {"wandb": "0.20", "other": "3.1"}
    text = ccr("doctor").stdout
    assert "\n  wandb   installed\n" in text
    assert "\n  tables  not installed (pyarrow>=16): pip install 'ccr-diag[tables]'\n" in text


def test_caches_are_measured(caches):
    (caches.own / "features").mkdir(parents=True)
    (caches.own / "features" / "a.npy").write_bytes(bytes(3000))
    (caches.own / "b.npy").write_bytes(bytes(4))
    (caches.own / "link.npy").symlink_to(caches.own / "b.npy")
    found = machine.examine()["caches"]
    assert found["features"]["path"] == str(caches.own)
    assert found["features"]["bytes"] == 3004
    assert found["features"]["writable"]
    assert found["features"]["free"] > 0
    assert found["hub"] | {"free": 0} == {
        "path": str(caches.hub), "bytes": 0, "writable": True, "free": 0
    }  # fmt: skip


def test_weights_in_the_cache_of_the_hub_need_no_network(ccr, caches):
    """Copied there as the second of the three ways says."""
    model, tag, repository = machine.EXAMPLE
    copied = caches.hub / f"models--{repository.replace('/', '--')}"
    (copied / "refs").mkdir(parents=True)
    (copied / "refs" / "main").write_text("abc")
    (copied / "snapshots" / "abc").mkdir(parents=True)
    (copied / "snapshots" / "abc" / "open_clip_model.safetensors").write_bytes(bytes(10))
    text = ccr("doctor").stdout
    assert f"\n  --model {model} --pretrained {tag}\n" in text.split("was not reached")[0]
    assert re.search(r"^  hub +\S+ \(13 bytes, ", text, re.M)


def test_a_cache_that_is_no_folder_is_a_problem(ccr, caches):
    caches.own.parent.write_text("a file")
    for form in ("text", "json"):
        done = ccr("doctor", "--format", form)
        assert done.exit_code == 1
        assert done.stderr == (
            f"Problem: The cache must be a folder that can be written, but {caches.own} is not; "
            "set CCR_DIAG_CACHE to one that can.\n"
        )
        assert len(done.stdout) > 100
    caches.own.parent.unlink()
    assert ccr("doctor").exit_code == 0


def test_a_cache_that_must_not_be_written_is_a_problem(ccr, caches, monkeypatch):
    caches.own.mkdir(parents=True)
    access = os.access  # root may write everywhere, so the system's answer is made up
    monkeypatch.setattr(os, "access", lambda path, mode: path != caches.own and access(path, mode))
    done = ccr("doctor")
    assert done.exit_code == 1
    assert "must be a folder that can be written" in done.stderr
    assert " free, not writable)" in done.stdout


def test_a_full_disk_is_a_problem(ccr, caches, monkeypatch):
    usage = namedtuple("usage", "total used free")(10, 10, 0)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    done = ccr("doctor")
    assert done.exit_code == 1
    assert done.stderr.startswith("Problem: The cache needs room, but the disk of ")


def test_a_broken_torch_is_a_problem_and_the_rest_is_said(ccr, caches, monkeypatch):
    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name == "torch":
            raise OSError("libcudart.so.12: cannot open\nshared object file")
        return real(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", broken)
        done = ccr("doctor")
    assert done.exit_code == 1
    assert done.stderr == (
        "Problem: Every command needs torch and open_clip, but they fail (OSError: "
        "libcudart.so.12: cannot open shared object file); install them again.\n"
    )
    assert re.search(r"^  cpu +\d+ cores", done.stdout, re.M)


def test_a_card_and_what_torch_says_of_its_driver(caches, monkeypatch):
    import warnings

    card = SimpleNamespace(name="Card 3000", total_memory=8 * GIB)

    def count():
        warnings.warn("driver\ntoo old", UserWarning, stacklevel=1)
        return 1

    monkeypatch.setattr(torch.cuda, "device_count", count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: card)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = machine.examine()
    devices = found["devices"]
    assert devices["cuda"] == [{"name": "Card 3000", "memory": 8 * GIB}]
    assert devices["auto"] == "cuda"
    assert devices["warnings"] == ["driver too old"]
    from ccr_diag.cli.doctor import lines

    assert "  cuda                  Card 3000 (8.59 GB); driver too old" in list(lines(found))


def test_a_container_may_use_less_memory(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "MEMORY_LIMIT", limit)
    whole = machine._memory()
    assert whole == pytest.approx(_total_memory(), rel=1e-6)
    limit.write_text("max\n")
    assert machine._memory() == whole
    limit.write_text("1073741824\n")
    assert machine._memory() == GIB


class Hub(BaseHTTPRequestHandler):
    """Answers as it is told."""

    status = 200

    def do_HEAD(self):
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch):
    """A server in the place of the hub."""
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_hub_that_answers(ccr, hub, monkeypatch):
    text = ccr("doctor").stdout
    assert text.splitlines()[-1] == (
        f"The hub {constants.ENDPOINT} can be reached: other weights are fetched when they are "
        "named."
    )
    monkeypatch.setattr(Hub, "status", 403)
    assert machine.examine()["hub"]["unreachable"] == "HTTP status 403"


def test_a_hub_that_must_not_be_asked_is_not(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_module, "get_session", pytest.fail)
    assert machine.examine()["hub"]["unreachable"] == "HF_HUB_OFFLINE is set"


def test_a_hub_that_is_silent_is_not_waited_for(monkeypatch):
    over = threading.Event()

    def looked_up(*args, **kwargs):
        over.wait(5)
        raise TimeoutError

    monkeypatch.setattr(hub_module, "get_session", lambda: SimpleNamespace(head=looked_up))
    start = time.monotonic()
    question = hub_module.Question("http://hub.invalid", 0.05)
    assert question.answer() == "no answer in 0.05 s"
    assert 0.05 <= time.monotonic() - start < 1
    question = hub_module.Question("http://hub.invalid", 0.2)
    time.sleep(0.2)  # what else there is to do
    start = time.monotonic()
    assert question.answer() == "no answer in 0.2 s"
    assert time.monotonic() - start < 0.15
    over.set()


def test_a_hub_that_refuses_its_front_page_may_have_files(hub, monkeypatch):
    monkeypatch.setattr(Hub, "status", 404)
    with hub_module.without_waiting() as silence:
        assert not silence
        assert not constants.HF_HUB_OFFLINE


def test_a_silent_hub_is_not_asked_for_files():
    with hub_module.without_waiting() as silence:
        assert "refused" in silence
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_an_address_that_is_none_is_said(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "hub.example")
    assert machine.examine()["hub"]["unreachable"].startswith("Request URL is missing")
