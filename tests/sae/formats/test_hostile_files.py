"""Files that are torn, forged or malicious: refused by name, or else a sound dictionary; no payload ever runs."""

import io
import json
import pickle
import resource
import shutil
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mistudio.sae import SAE, SAEFormatError, load_sae, save_sae
from mistudio.sae.format_info import FORMATS as INFO

from .dictionaries import activations, random_sae, random_temporal

FORMATS = list(INFO)
CROSSCODERS = ("crosscoder_learning",)
FUZZ = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A sound folder of every format."""
    root = tmp_path_factory.mktemp("sound")
    save_sae(random_temporal(), root / "temporal", format="temporal")
    save_sae(random_temporal(), root / "their_temporal", format="sae_lens")
    for format in FORMATS:
        if format == "temporal":
            continue
        kind = "topk" if format in ("sparsify", "qwen_scope") else "standard"
        save_sae(
            random_sae(kind, "crosscoder" if format in CROSSCODERS else "plain"), root / format, format=format
        )
    save_sae(random_sae("jump_relu"), root / "jump_relu", format="sae_lens")
    save_sae(random_sae("jump_relu", "skip_transcoder"), root / "skip", format="gemma_scope_2")
    save_sae(random_sae("matryoshka"), root / "matryoshka", format="dictionary_learning")
    save_sae(random_sae("topk", "layer_norm"), root / "layer_norm", format="openai")
    return {folder.name: folder for folder in root.iterdir()}


NAMES = [*FORMATS, "their_temporal", "jump_relu", "skip", "matryoshka", "layer_norm"]


def assert_refused_or_sound(folder: Path) -> SAE | None:
    """The only two outcomes that there may be."""
    try:
        sae = load_sae(folder)
    except SAEFormatError as error:
        assert str(folder) in str(error) and len(str(error)) < 2500
        return None
    x = activations(5, sae.d_in)
    assert sae(x).shape == (5, sae.d_out)
    assert sae.encode(x).d_sae == sae.d_sae
    assert all(bool(torch.isfinite(p).all()) for p in sae.parameters())
    return sae


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@given(name=st.sampled_from(NAMES), data=st.data())
@FUZZ
def test_changed_bytes(name: str, data: st.DataObject, folders: dict[str, Path]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sae"
        shutil.copytree(folders[name], folder)
        path = data.draw(st.sampled_from(files(folder)))
        content = bytearray(path.read_bytes())
        # names, sizes and offsets stand at either end of all three binary layouts
        ends = st.integers(0, min(400, len(content) - 1)) | st.integers(
            max(0, len(content) - 900), len(content) - 1
        )
        for place in data.draw(st.lists(ends | st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        assert_refused_or_sound(folder)


@given(name=st.sampled_from(NAMES), cut=st.floats(0, 0.999), data=st.data())
@FUZZ
def test_truncated_files(name: str, cut: float, data: st.DataObject, folders: dict[str, Path]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sae"
        shutil.copytree(folders[name], folder)
        path = data.draw(st.sampled_from(files(folder)))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
        sae = assert_refused_or_sound(folder)
        assert sae is None or path.suffix == ".yaml", "only YAML can lose its end and still be whole"


@given(name=st.sampled_from(NAMES), junk=st.binary(max_size=300), data=st.data())
@FUZZ
def test_junk(name: str, junk: bytes, data: st.DataObject, folders: dict[str, Path]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sae"
        shutil.copytree(folders[name], folder)
        data.draw(st.sampled_from(files(folder))).write_bytes(junk)
        assert_refused_or_sound(folder)


def read_tensors(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    if path.suffix == ".npz":
        return {name: torch.from_numpy(array) for name, array in np.load(path).items()}
    return dict(torch.load(path, weights_only=True))


def write_tensors(content: dict[str, Any], path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in content.items()}, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in content.items()})
    else:
        torch.save(content, path)


CHANGES: dict[str, Any] = {
    "a row less": lambda t: t[:-1] if t.ndim else t[None],
    "a row more": lambda t: torch.cat([t, t[:1]]) if t.ndim else torch.stack([t, t]),
    "a dimension more": lambda t: t[None],
    "flat": lambda t: t.reshape(-1),
    "empty": lambda t: t.reshape(-1)[:0],
    "turned round": lambda t: t.T if t.ndim == 2 else t[None, :, None] if t.ndim == 1 else t,
    "NaN": lambda t: _with(t, float("nan")),
    "infinite": lambda t: _with(t, float("inf")),
    "beyond float32": lambda t: _with(t.double(), 1e200) if t.is_floating_point() else t * 0 - 1,
    "whole numbers": lambda t: t.long() if t.is_floating_point() else t.float() + 0.5,
    "complex": lambda t: t.to(torch.complex64),
    "half": lambda t: t.half(),
    "true or false": lambda t: t > 0,
    "huge": lambda t: t.double() * 1e30 if t.is_floating_point() else t + 2**30,
    "gone": None,
}


def _with(tensor: torch.Tensor, value: float) -> torch.Tensor:
    changed = tensor.clone().float() if not tensor.is_floating_point() else tensor.clone()
    changed.reshape(-1)[:1] = value
    return changed


@pytest.mark.slow
@given(name=st.sampled_from(NAMES), change=st.sampled_from(sorted(CHANGES)), data=st.data())
@settings(FUZZ, max_examples=120)
def test_changed_tensors(name: str, change: str, data: st.DataObject, folders: dict[str, Path]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sae"
        shutil.copytree(folders[name], folder)
        path = next(p for p in files(folder) if p.suffix not in (".json", ".yaml"))
        content = read_tensors(path)
        tensors = sorted(key for key, value in content.items() if isinstance(value, torch.Tensor))
        key = data.draw(st.sampled_from(tensors))
        if CHANGES[change] is None:
            del content[key]
        else:
            content[key] = CHANGES[change](content[key])
        write_tensors(content, path)
        sae = assert_refused_or_sound(folder)
        if sae is not None and change in ("NaN", "infinite", "beyond float32", "complex", "true or false"):
            # only what no reader looks at may hold nonsense
            assert key.startswith(("stats_", "latents_", "threshold", "k", "code_normalization")), (name, key)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@given(name=st.sampled_from(NAMES), value=JSON, data=st.data())
@settings(FUZZ, max_examples=80)
def test_changed_configurations(name: str, value: Any, data: st.DataObject, folders: dict[str, Path]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sae"
        shutil.copytree(folders[name], folder)
        path = data.draw(st.sampled_from([p for p in files(folder) if p.suffix == ".json"]))
        content = json.loads(path.read_text())
        place = content
        while True:
            keys = sorted(place)
            if not keys:
                return
            key = data.draw(st.sampled_from(keys))
            if not isinstance(place[key], dict) or data.draw(st.booleans()):
                break
            place = place[key]
        place[key] = value
        path.write_text(json.dumps(content))
        assert_refused_or_sound(folder)


class Payload:
    """Runs when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_in_place_of_any_file_is_never_run(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    for path in files(folders[name]):
        folder = tmp_path / "sae"
        shutil.copytree(folders[name], folder)
        (folder / path.relative_to(folders[name])).write_bytes(pickle.dumps(Payload(marker)))
        with pytest.raises(SAEFormatError):
            load_sae(folder)
        shutil.rmtree(folder)
    assert not marker.exists()


@pytest.mark.parametrize("where", ["beside tensors", "as a name", "nested"])
def test_a_payload_inside_a_pytorch_archive_is_never_run(where: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    save_sae(random_sae("standard"), tmp_path / "sae", format="goodfire")
    path = tmp_path / "sae" / "sae.pth"
    content = torch.load(path, weights_only=True)
    payload = Payload(marker)
    content |= {
        "beside tensors": {"x": payload},
        "as a name": {payload: 1},
        "nested": {"a": [{"b": payload}]},
    }[where]
    torch.save(content, path)
    with pytest.raises(SAEFormatError, match=r"Python objects besides tensors, .* could run code"):
        load_sae(tmp_path / "sae")
    assert not marker.exists()


def test_a_payload_inside_an_npz_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    np.savez(tmp_path / "params.npz", W_enc=np.array([Payload(marker)], dtype=object))
    with pytest.raises(SAEFormatError, match=r"W_enc.npy holds Python objects or text, not numbers"):
        load_sae(tmp_path)
    assert not marker.exists()


def peak() -> int:
    """The most memory this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def npy_header(shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue()


@pytest.mark.slow
def test_an_npz_that_unpacks_to_gigabytes_is_refused_unopened(tmp_path: Path) -> None:
    size = 2**28
    with zipfile.ZipFile(tmp_path / "params.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("b_enc", "b_dec", "W_dec", "threshold"):
            archive.writestr(f"{name}.npy", npy_header((1,)) + bytes(4))
        with archive.open("W_enc.npy", "w", force_zip64=True) as file:
            file.write(npy_header((size // 1024, 256)))
            for _ in range(size // 2**20):
                file.write(bytes(2**20))
    assert (tmp_path / "params.npz").stat().st_size < 2**20
    before = peak()
    with pytest.raises(SAEFormatError, match=r"would unpack to \d+ bytes, \d+ times its size"):
        load_sae(tmp_path)
    assert peak() - before < size // 2


@pytest.mark.parametrize("shape", [(2**40,), (2**31, 2**31), (0, 5), (-1, 5)])
def test_an_array_that_lies_about_its_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "params.npz", "w") as archive:
        archive.writestr("W_enc.npy", npy_header(shape) + bytes(64))
    with pytest.raises(SAEFormatError, match=r"params.npz.*(instead of|an array of shape)"):
        load_sae(tmp_path)


def test_one_number_seen_a_billion_times_is_refused(tmp_path: Path) -> None:
    """A view of one stored number with any shape: it would be copied out in full."""
    save_sae(random_sae("standard"), tmp_path / "sae", format="goodfire")
    path = tmp_path / "sae" / "sae.pth"
    content = torch.load(path, weights_only=True)
    torch.save(content | {"encoder_linear.weight": torch.ones(1).expand(10**6, 10**6)}, path)
    with pytest.raises(SAEFormatError, match=r"encoder_linear.weight is not an ordinary tensor"):
        load_sae(tmp_path / "sae")


@pytest.mark.parametrize("kind", ["sparse", "meta", "quantised"])
def test_tensors_of_another_make_are_refused(kind: str, tmp_path: Path) -> None:
    save_sae(random_sae("standard"), tmp_path / "sae", format="goodfire")
    path = tmp_path / "sae" / "sae.pth"
    content = torch.load(path, weights_only=True)
    weight = content["encoder_linear.weight"]
    other = {
        "sparse": lambda: torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), [1.0], (10**6, 10**6)),
        "meta": lambda: torch.empty(10**6, 10**6, device="meta"),
        "quantised": lambda: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
    }[kind]()
    torch.save(content | {"encoder_linear.weight": other}, path)
    with pytest.raises(SAEFormatError, match=r"sae.pth"):
        load_sae(tmp_path / "sae")


def test_a_packed_pytorch_archive_is_refused(tmp_path: Path) -> None:
    save_sae(random_sae("standard"), tmp_path / "sae", format="goodfire")
    path = tmp_path / "sae" / "sae.pth"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(SAEFormatError, match="holds packed or overlapping data"):
        load_sae(tmp_path / "sae")


@pytest.mark.parametrize("content", [[1, 2], "text", torch.zeros(3), None, {1: torch.zeros(3)}])
def test_an_archive_of_something_else(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "sae.pt")
    with pytest.raises(SAEFormatError, match=r"sae.pt (holds|names)"):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 200_000, "not readable JSON"),
        (b'{"a":' * 200_000, "not readable JSON"),
        (b'{"d_in": ' + b"9" * 10_000 + b"}", "not readable JSON"),
        (b'{"metadata": {"note": "\\ud800"}}', "not readable JSON"),
        (b"\xff\xfe{}", "not readable JSON"),
        (b'"text"', "a JSON object was expected"),
        (b" " * (17 * 2**20), "larger than any configuration"),
        (b'{"d_in": NaN, "metadata": {}, "architecture": "standard"}', "d_in must be a whole number"),
    ],
)
def test_absurd_json(content: bytes, says: str, folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["sae_lens"], tmp_path / "sae")
    (tmp_path / "sae" / "cfg.json").write_bytes(content)
    with pytest.raises(SAEFormatError, match=says):
        load_sae(tmp_path / "sae")


@pytest.mark.parametrize("length", [0, 1, 2**40, 2**63, 2**64 - 1])
def test_a_safetensors_header_that_lies(length: int, folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["sae_lens"], tmp_path / "sae")
    path = tmp_path / "sae" / "sae_weights.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(
        SAEFormatError, match=r"sae_weights.safetensors is incomplete or not a safetensors file"
    ):
        load_sae(tmp_path / "sae")


def test_an_unknown_layout_is_told_what_it_holds_and_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "layers.3").mkdir()
    save_file({"router.weight": torch.zeros(3, 2)}, tmp_path / "model.safetensors")
    says = (
        r"found: model.safetensors with router.weight \[3, 2\]\)\. Known: .*SAELens .*sparsify .*Gemma Scope"
    )
    with pytest.raises(SAEFormatError, match=says):
        load_sae(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(SAEFormatError, match=r"found: layers\.3/"):
        load_sae(tmp_path)
    for layer in range(3):
        torch.save({"W_enc": torch.zeros(3, 2)}, tmp_path / f"layer{layer}.sae.pt")
    with pytest.raises(SAEFormatError, match=r"holds 3 files with tensors .* the one file that you want"):
        load_sae(tmp_path)
    with pytest.raises(SAEFormatError, match=r"layer1.sae.pt with W_enc \[3, 2\]"):
        load_sae(tmp_path / "layer1.sae.pt")


def test_our_own_folder_without_a_weight(tmp_path: Path) -> None:
    for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
        save_sae(random_sae("standard"), tmp_path / "sae", format="mistudio")
        path = tmp_path / "sae" / "weights.safetensors"
        content = load_file(path)
        save_file({other if other != name else "W_odd": t for other, t in content.items()}, path)
        with pytest.raises(SAEFormatError, match=f"{name} is missing"):
            load_sae(tmp_path / "sae")
