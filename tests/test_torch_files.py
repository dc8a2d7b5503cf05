"""What torch.save wrote: read as torch.load reads it, without running any of it."""

import collections
import contextlib
import io
import os
import pickle
import random
import struct
import sys
import tarfile
import time
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from ccr_diag import torch_files
from ccr_diag.errors import BadCheckpoint
from ccr_diag.torch_files import Foreign, StoredTensor, read_torch_file

FORMATS = {"archive": True, "stream": False}
N_FUZZED = 600  # a format


class ConstantWarmup(torch.optim.lr_scheduler.LRScheduler):
    """As Dassl's: its state holds another scheduler, and with it the optimizer."""

    def __init__(self, optimizer, successor):
        self.successor = successor
        super().__init__(optimizer)

    def get_lr(self):
        return [1e-5]


def dassl_dict(**tensors):
    """What Dassl saves: state, epoch, and a scheduler that pickles foreign objects."""
    learner = nn.Module()
    for key, tensor in tensors.items():
        learner.register_parameter(key, nn.Parameter(tensor.clone()))
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.002, momentum=0.9)
    sum(p.float().square().sum() for p in learner.parameters()).backward()
    optimizer.step()
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50.0)
    scheduler = ConstantWarmup(optimizer, cosine)
    return {
        "state_dict": learner.state_dict(),
        "epoch": 50,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "val_result": np.float64(71.5),
    }


def save(content, path, kind="archive", **options):
    torch.save(content, path, _use_new_zipfile_serialization=FORMATS[kind], **options)
    return path


def every_tensor(file, value, around=()):
    """Tensors read, containers kept; of damaged files, containers may hold themselves."""
    if isinstance(value, StoredTensor):
        return file.tensor(value)
    if any(value is container for container in around):
        return value
    around = (*around, value)
    if isinstance(value, dict):
        return {key: every_tensor(file, item, around) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(every_tensor(file, item, around) for item in value)
    return value


def assert_same(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert ours.is_contiguous()
        assert torch.equal(ours, theirs)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert type(ours) is type(theirs)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        assert ours == theirs


DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def many_tensors():
    base = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    return {
        "dtypes": [(10 * base).to(dtype) for dtype in DTYPES],
        "views": (base[1:4, ::2], base.T, base[2], base[0, 0], base[:0], base.reshape(2, 3, 5)),
        "parameter": nn.Parameter(base),
        3: OrderedDict([("x", None), ("y", [True, False, -7, 2**40, 1.5, "Zürich"])]),
        "nested": {"tuple": (1, (2, (3, (4, 5)))), "long": 2**70, "empty": ((), [], {})},
    }


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_everything_is_read_as_torch_reads_it(tmp_path, kind, protocol):
    path = save(many_tensors(), tmp_path / "a.pt", kind, pickle_protocol=protocol)
    file = read_torch_file(path)
    assert_same(every_tensor(file, file.content), torch.load(path, weights_only=False))


@pytest.mark.parametrize("kind", FORMATS)
def test_foreign_objects_become_names(tmp_path, kind):
    content = dassl_dict(ctx=torch.randn(4, 8))
    path = save(content, tmp_path / "model.pth.tar-50", kind)
    with pytest.raises(pickle.UnpicklingError):  # the reason why this reader exists
        torch.load(path, weights_only=True)
    file = read_torch_file(path)
    assert file.content["scheduler"]["successor"] == Foreign(
        "torch.optim.lr_scheduler.CosineAnnealingLR"
    )
    assert isinstance(file.content["val_result"], Foreign)
    for part in ("state_dict", "epoch", "optimizer"):
        assert_same(every_tensor(file, file.content[part]), content[part])


def test_other_containers_are_dicts_or_names(tmp_path):
    counts = collections.defaultdict(list, {"a": [1]})
    content = [counts, {1, 2}, frozenset({3}), collections.Counter("aab"), nn.Linear(2, 2), (1,)]
    content.append({(1, 2): "left out", "kept": 0})
    file = read_torch_file(save(content, tmp_path / "a.pt", pickle_protocol=4))
    *read, last, keyed = file.content
    assert read[0] == {"a": [1]}
    assert [value.name.rpartition(".")[2] for value in read[1:]] == [
        *("set", "frozenset", "Counter", "Linear")
    ]
    assert last == (1,)
    assert keyed == {"kept": 0}


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_of_other_machines_are_turned_round(tmp_path, dtype):
    tensor = many_tensors()["dtypes"][DTYPES.index(dtype)]
    path, turned = save(tensor, tmp_path / "a.pt"), tmp_path / "b.pt"
    size = 4 if dtype.is_complex else dtype.itemsize  # a complex number is two of 4 bytes
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(turned, "w") as new:
        for name in old.namelist():
            data = b"big" if name.endswith("/byteorder") else old.read(name)
            if name.endswith("/data/0"):
                data = np.frombuffer(data, f"u{size}").byteswap().tobytes()
            new.writestr(name, data)
    assert_same(read_tensor(turned), tensor)


def test_only_what_is_asked_for_is_read(tmp_path):
    path = save({"large": torch.zeros(5_000_000), "small": torch.ones(3)}, tmp_path / "a.pt")
    tracemalloc.start()
    file = read_torch_file(path)
    assert file.tensor(file.content["small"]).tolist() == [1, 1, 1]
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


# Hostile files


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *args, state=None):
        self.made = (function, args, state)

    def __reduce__(self):
        function, args, state = self.made
        return (function, args) if state is None else (function, args, state)


class Outside:
    """Pickled as something outside the pickle."""

    def __init__(self, *saved):
        self.saved = saved


class Writer(pickle.Pickler):
    def persistent_id(self, value):
        return value.saved if isinstance(value, Outside) else None


def pickled(content, protocol=2):
    file = io.BytesIO()
    Writer(file, protocol).dump(content)
    return file.getvalue()


def write_archive(path, program, storages=(), **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("a/data.pkl", program)
        for key, data in dict(storages).items():
            archive.writestr(f"a/data/{key}", data)
    return path


def write_stream(path, *programs, rest=b""):
    """Programs take the places of: magic, version, machine, content, keys."""
    usual = [pickled(v) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, [])]
    path.write_bytes(b"".join([*programs, *usual[len(programs) :]]) + rest)
    return path


def touch(path):
    return f"open({str(path)!r}, 'w').close()"


def attacks(sentinel):
    """Pickles that leave a file behind when Python runs them."""
    text, command = touch(sentinel), f"touch '{sentinel}'"
    here = __name__.encode()
    return {
        "system": pickled({"ctx": Call(os.system, command)}),
        "eval": pickled(Call(eval, text)),
        "exec, named by the stack": pickled(Call(exec, text), 4),
        "mkdir": pickled([Call(os.mkdir, str(sentinel))]),
        "numpy": pickled(Call(np.savetxt, str(sentinel), [0.0])),
        "a pickle inside": pickled(Call(pickle.loads, pickled(Call(exec, text)))),
        "protocol 0": b"cos\nsystem\n(V" + command.encode() + b"\ntR.",
        "INST": b"(V" + command.encode() + b"\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nV" + command.encode() + b"\no.",
        "NEWOBJ": b"c" + here + b"\nNewRuns\n(V" + command.encode() + b"\nt\x81.",
        "NEWOBJ_EX": b"\x80\x04c" + here + b"\nNewRuns\n(V" + command.encode() + b"\nt}\x92.",
        "a tensor's state": pickled(Call(StateRuns, state=command)),
        "a list's append": pickled(AppendRuns(command)),
        "import": b"cmodule_that_writes\nx\n.",
    }


class NewRuns:
    def __new__(cls, command):
        os.system(command)
        return super().__new__(cls)


class StateRuns:
    def __setstate__(self, state):
        os.system(state)


class Appending:
    def append(self, value):
        os.system(value)


class AppendRuns:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return (Appending, (), None, iter([self.command]))


ATTACKS = tuple(attacks("x"))


@pytest.mark.parametrize("name", ATTACKS)
def test_no_pickle_is_run(tmp_path, monkeypatch, name):
    sentinel = tmp_path / "was here"
    (tmp_path / "module_that_writes.py").write_text(f"x = {touch(sentinel)}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "module_that_writes", raising=False)
    program = attacks(sentinel)[name]

    with contextlib.suppress(TypeError, AttributeError):  # of what comes after the attack
        pickle.loads(program)
    assert sentinel.exists()  # the attack is real
    sentinel.rmdir() if sentinel.is_dir() else sentinel.unlink()
    sys.modules.pop("module_that_writes", None)

    targets = [write_archive(tmp_path / "a.pt", program), tmp_path / "plain.pkl"]
    targets[1].write_bytes(program)
    before = [pickled(v) for v in (0x1950A86A20F9469CFC6C, 1001, {}, {})]
    targets += [write_stream(tmp_path / f"{n}.pt", *before[:n], program) for n in range(5)]
    for path in targets:
        try:
            file = read_torch_file(path)
        except BadCheckpoint:
            continue
        assert not isinstance(file.content, StoredTensor)
    assert not sentinel.exists()
    assert "module_that_writes" not in sys.modules


@pytest.mark.parametrize("kind", FORMATS)
def test_tensors_beside_an_attack_are_read(tmp_path, kind):
    sentinel = tmp_path / "was here"
    content = {"ctx": torch.ones(2, 3), "scheduler": Call(os.system, f"touch '{sentinel}'")}
    path = save(content, tmp_path / "a.pt", kind)
    file = read_torch_file(path)
    assert torch.equal(file.tensor(file.content["ctx"]), torch.ones(2, 3))
    assert file.content["scheduler"].name.endswith(".system")
    assert not sentinel.exists()
    torch.load(path, weights_only=False)
    assert sentinel.exists()


def tensor_program(count=6, offset=0, shape=(2, 3), stride=(3, 1), kind=torch.FloatStorage):
    storage = Outside("storage", kind, "0", "cpu", count)
    return pickled(
        Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, stride, False, OrderedDict())
    )


NUMBERS = np.arange(6, dtype=np.float32).tobytes()


def read_tensor(path):
    file = read_torch_file(path)
    return file.tensor(file.content)


def test_a_written_tensor_is_read(tmp_path):
    path = write_archive(tmp_path / "a.pt", tensor_program(), {"0": NUMBERS})
    assert read_tensor(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    path = write_stream(
        tmp_path / "b.pt",
        *[pickled(v) for v in (0x1950A86A20F9469CFC6C, 1001, {})],
        tensor_program(),
        pickled(["0"]),
        rest=struct.pack("<q", 6) + NUMBERS,
    )
    assert read_tensor(path).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"count": 2**40}, "must have 4398046511104 bytes, but has 24"),
        ({"count": 2**62}, "without a key or a size"),
        ({"count": 5}, "must have 20 bytes, but has 24"),
        ({"count": -1}, "without a key or a size"),
        ({"kind": torch.DoubleStorage}, "must have 48 bytes, but has 24"),
        ({"kind": torch.QInt8Storage}, "storage of an unknown kind"),
        ({"offset": 1}, r"shape \(2, 3\) reaches beyond its storage of 6 numbers"),
        ({"offset": -1}, "strange shape"),
        ({"offset": "0"}, "strange shape"),
        ({"shape": (2, 4)}, "reaches beyond"),
        ({"stride": (4, 1)}, "reaches beyond"),
        ({"stride": (-3, 1)}, "strange shape"),
        ({"shape": (2**40, 2), "stride": (0, 0)}, "reaches beyond"),
        ({"shape": (4, 2), "stride": (0, 1)}, "reaches beyond"),
        ({"shape": (2**47,) * 8, "stride": (2**47,) * 8}, "reaches beyond"),
        ({"shape": (10**5000,), "stride": (1,)}, "strange shape"),
        ({"shape": (2, 3, 1)}, "without a storage or a shape"),
        ({"shape": (1,) * 9, "stride": (1,) * 9}, "strange shape"),
        ({"shape": [2, 3]}, "without a storage or a shape"),
        ({"shape": (True, 3)}, "strange shape"),
    ],
)
def test_a_tensor_stays_inside_its_storage(tmp_path, what, reason):
    path = write_archive(tmp_path / "a.pt", tensor_program(**what), {"0": NUMBERS})
    with pytest.raises(BadCheckpoint, match=reason):
        read_tensor(path)


def repeated(n):
    """((x, x), (x, x)) …, 2ⁿ wide where it is walked through, n where it is written."""
    return b"\x80\x02K\x01" + b"2\x86" * n


BOMBS = {
    "memo place": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
    "text": b"\x80\x02X\xff\xff\xff\x7fx.",
    "long": b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
    "hash": b"\x80\x02}" + repeated(80)[2:] + b"Ns.",
    "hash, as a key's name": b"\x80\x02(" + repeated(80)[2:] + b"tQ.",
    "depth": b"\x80\x02" + b"(" * 1_400 + b"t" * 1_400 + b".",
    "lists": b"\x80\x02" + b"]" * 200_000 + b".",
    "decimal": b"I" + b"9" * 1_000_000 + b"\n.",
    "extension": b"\x80\x02\x82\x01.",
    "stack": b"\x80\x020.",
    "mark": b"\x80\x02t.",
    "memo": b"\x80\x02h\x05.",
    "instruction": b"\x80\x02\xff.",
    "empty": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_claim_costs_time_or_memory(tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch_files, "MAX_PICKLE_STEPS", 3_000)
    before = [pickled(v) for v in (0x1950A86A20F9469CFC6C, 1001, {})]
    paths = [
        write_archive(tmp_path / "a.pt", BOMBS[name]),
        write_stream(tmp_path / "b.pt", *before, BOMBS[name]),
        write_stream(tmp_path / "c.pt", *before, pickled({}), BOMBS[name]),
    ]
    started = time.monotonic()
    tracemalloc.start()
    for path in paths:
        with contextlib.suppress(BadCheckpoint):
            assert type(read_torch_file(path).content) in (dict, tuple, type(None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert time.monotonic() - started < 20


# Damaged files


def test_other_files_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "a.pth.tar"
    with pytest.raises(BadCheckpoint, match="must be a file, but there is none at"):
        read_torch_file(path)
    with pytest.raises(BadCheckpoint, match="must be a file, but there is none at"):
        read_torch_file(tmp_path)
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    with pytest.raises(BadCheckpoint, match="it is a tar archive; unpack it"):
        read_torch_file(path)
    path.write_bytes(pickled({"ctx": [1.0]}))
    with pytest.raises(BadCheckpoint, match="does not begin as torch's files do"):
        read_torch_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.npy", b"")
    with pytest.raises(BadCheckpoint, match=r"it holds 0 files data\.pkl instead of 1"):
        read_torch_file(path)
    write_archive(path, tensor_program(), {"0": NUMBERS}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(BadCheckpoint, match=r"a/data\.pkl is compressed"):
        read_torch_file(path)
    write_archive(path, tensor_program())
    with pytest.raises(BadCheckpoint, match="a/data/0"):
        read_torch_file(path)


def test_a_changed_number_in_an_archive_is_noticed(tmp_path):
    path = write_archive(tmp_path / "a.pt", tensor_program(), {"0": NUMBERS})
    data = path.read_bytes()
    assert data.count(NUMBERS) == 1
    path.write_bytes(data.replace(NUMBERS, NUMBERS[::-1]))
    with pytest.raises(BadCheckpoint, match="Bad CRC-32"):
        read_tensor(path)


def test_a_stream_must_have_all_its_storages(tmp_path):
    before = [pickled(v) for v in (0x1950A86A20F9469CFC6C, 1001, {})]
    rest = struct.pack("<q", 6) + NUMBERS
    before.append(tensor_program())
    path = write_stream(tmp_path / "a.pt", *before, pickled(["0"]), rest=rest[:-1])
    with pytest.raises(BadCheckpoint, match="it ends after .* bytes, within storage 0"):
        read_torch_file(path)
    path = write_stream(tmp_path / "a.pt", *before, pickled([]), rest=rest)
    with pytest.raises(BadCheckpoint, match="a tensor's numbers are missing"):
        read_torch_file(path)


def test_a_storage_has_one_size(tmp_path):
    both = [Outside("storage", torch.FloatStorage, "0", "cpu", n) for n in (6, 5)]
    path = write_archive(tmp_path / "a.pt", pickled(both), {"0": NUMBERS})
    with pytest.raises(BadCheckpoint, match="one storage with two sizes or types"):
        read_torch_file(path)


def damaged(whole, rng, n):
    """Cut short, changed in some bytes, or with a piece missing, repeated, or of another place."""
    for i in range(n):
        at, length = rng.randrange(len(whole)), rng.choice((1, 2, 4, 8, 30))
        other = rng.randrange(len(whole))
        piece = whole[other : other + length]
        kind = i % 5
        if kind == 0:
            yield whole[:at], True
        elif kind == 1:
            yield whole[:at] + rng.randbytes(length) + whole[at + length :], False
        elif kind == 2:
            yield whole[:at] + whole[at + length :], False
        elif kind == 3:
            yield whole[:at] + piece + whole[at:], False
        else:
            flipped = bytes([whole[at] ^ 1 << rng.randrange(8)])
            yield whole[:at] + flipped + whole[at + 1 :], False


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_is_a_bad_checkpoint_or_unseen(tmp_path, kind):
    content = {"state_dict": {"ctx": torch.ones(2, 3).half()}, "epoch": 5}
    whole = save(content, tmp_path / "whole.pt", kind).read_bytes()
    path, texts, rng = tmp_path / "damaged.pt", [], random.Random(0)
    for data, must_be_refused in damaged(whole, rng, N_FUZZED):
        path.write_bytes(data)
        try:
            file = read_torch_file(path)
            every_tensor(file, file.content)
            assert not must_be_refused
        except BadCheckpoint as refusal:
            texts.append(str(refusal))
    assert len(texts) > N_FUZZED // 3
    assert not any("Type-check" in text or "\n" in text or len(text) > 1000 for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_long_damage(tmp_path, kind):
    whole = save(dassl_dict(ctx=torch.ones(2, 3)), tmp_path / "whole.pt", kind).read_bytes()
    path, rng = tmp_path / "damaged.pt", random.Random(1)
    for data, _ in damaged(whole, rng, 50_000):
        path.write_bytes(data)
        with contextlib.suppress(BadCheckpoint):
            file = read_torch_file(path)
            every_tensor(file, file.content)
