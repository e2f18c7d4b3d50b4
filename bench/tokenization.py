"""Tokenizing: against `datasets.map` with the same tokenizer on the same text, and a gigabyte in constant memory.

`tokenize/vs-datasets-map`: every State of the Union address, and the sources of installed Python packages up to as
much again and more: real text, none of it twice on purpose. Ours is the whole of a tokenization: reading, filtering
empty rows, encoding, packing into sequences, counting, writing with checksums. Theirs is
`Dataset.map(batched=True, num_proc=2)` over the same Arrow file with the same `tokenizers` tokenizer, which writes ids
alone (no attention mask, no packing). The ids of both must be equal, one by one.

`tokenize/memory-1gb`: the addresses' paragraphs over and over to a gigabyte, every row with words of its own, so that
new words never end. Ours is the largest memory of the process that tokenizes it (resident, mapped text included); the
peer is ours at a tenth of the text.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

PYTHON_BYTES = 40 << 20
GIGABYTE = 1 << 30
CONTEXT = 1024


def rows(quick: bool) -> list[dict[str, Any]]:
    """The bench rows. `quick`: fewer rounds, less text."""
    with tempfile.TemporaryDirectory(prefix="mistudio-bench-") as temporary:
        return [
            _against_datasets(
                Path(temporary), 1 if quick else 3, (PYTHON_BYTES >> 3) if quick else PYTHON_BYTES
            ),
            _memory(Path(temporary), GIGABYTE >> 3 if quick else GIGABYTE),
        ]


def _against_datasets(work: Path, rounds: int, python_bytes: int) -> dict[str, Any]:
    from bench.features import model_folder

    texts = real_texts(python_bytes)
    size = sum(len(text.encode()) for text in texts)
    write_texts(work / "texts", iter(texts))
    write_peer_texts(work / "peer.arrow", texts)
    tokenizer = model_folder()
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(rounds):
        ours.append(_timed("ours", work, tokenizer, work / f"ours-{number}"))
        theirs.append(_timed("theirs", work, tokenizer, work / f"theirs-{number}"))
    same = np.array_equal(np.load(work / "ours-0.npy"), np.load(work / "theirs-0.npy"))
    ratio = float(np.median(theirs) / np.median(ours))
    return {
        "name": "tokenize/vs-datasets-map",
        "ours": size / 1e6 / float(np.median(ours)),
        "peer": size / 1e6 / float(np.median(theirs)),
        "unit": "MB/s",
        "ratio": ratio,
        "goal": 1.5,
        "holds": bool(same and ratio >= 1.5),
        "note": f"{size / 1e6:.0f} MB of addresses and Python sources; ids {'equal' if same else 'DIFFER'}",
    }


def _memory(work: Path, size: int) -> dict[str, Any]:
    from bench.features import model_folder

    peaks: list[int] = []
    for part in (size // 10, size):
        folder = work / f"texts-{part}"
        write_texts(folder, endless_texts(part))
        peaks.append(_run("memory", folder, model_folder(), work / f"memory-{part}")["peak"])
    small, large = peaks
    return {
        "name": "tokenize/memory-1gb",
        "ours": large / 1e6,
        "peer": small / 1e6,
        "unit": "MB",
        "ratio": small / large,
        "goal": 0.8,
        "holds": small / large >= 0.8,
        "note": f"peak resident memory at {size / 1e9:.2g} GB of text; the peer is ours at a tenth of it",
    }


def real_texts(python_bytes: int) -> list[str]:
    """The paragraphs of all addresses, and Python sources, each file a row."""
    from mistudio.demo.sources import fetch_addresses, source_cache

    addresses = fetch_addresses(source_cache())
    texts = [part for address in addresses for part in address.text.split("\n\n") if part.strip()]
    files = sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.py"))
    random.Random(0).shuffle(files)
    size = 0
    for file in files:
        if size > python_bytes:
            break
        try:
            text = file.read_text("utf-8")
        except ValueError:
            continue
        if text.strip() and len(text) < 500_000:
            texts.append(text)
            size += len(text.encode())
    random.Random(1).shuffle(texts)
    return texts


def endless_texts(size: int) -> Any:
    """Paragraphs of addresses, each with words that no other row has, up to `size` bytes."""
    from mistudio.demo.sources import fetch_addresses, source_cache

    draw = random.Random(2)
    paragraphs = [
        part for address in fetch_addresses(source_cache()) for part in address.text.split("\n\n") if part
    ]
    done = 0
    while done < size:
        words = draw.choice(paragraphs).split(" ")
        for _ in range(1 + len(words) // 20):
            words[draw.randrange(len(words))] = f"{draw.getrandbits(40):x}"
        text = " ".join(words)
        done += len(text.encode())
        yield text


def write_texts(folder: Path, texts: Any) -> None:
    """A data set's folder of rows, as an import writes it."""
    from mistudio.datasets.text_store import TextWriter
    from mistudio.store import FolderDraft

    draft = FolderDraft(folder)
    writer = TextWriter(draft.path)
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == 1000:
            writer.write(pa.record_batch({"text": pa.array(batch, pa.large_string())}))
            batch = []
    if batch:
        writer.write(pa.record_batch({"text": pa.array(batch, pa.large_string())}))
    writer.finish()
    draft.commit()


def write_peer_texts(path: Path, texts: list[str]) -> None:
    """The same rows as the peer keeps them: an Arrow stream of ordinary strings."""
    schema = pa.schema([("text", pa.string())])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for start in range(0, len(texts), 1000):
            writer.write_batch(pa.record_batch({"text": texts[start : start + 1000]}, schema=schema))


def _timed(who: str, work: Path, tokenizer: Path, out: Path) -> float:
    return float(_run(who, work, tokenizer, out)["seconds"])


def _run(who: str, work: Path, tokenizer: Path, out: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.tokenization", who, str(work), str(tokenizer), str(out)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def run_ours(texts: Path, tokenizer_folder: Path, out: Path) -> dict[str, Any]:
    """Seconds and peak memory of a whole tokenization."""
    from mistudio.datasets.text_store import TextStore
    from mistudio.datasets.tokenization_schemas import TokenizationSettings
    from mistudio.datasets.tokenize import tokenize_texts
    from mistudio.models.tokenizer import ModelTokenizer

    store, tokenizer = TextStore(texts), ModelTokenizer(tokenizer_folder)
    settings = TokenizationSettings(
        context_length=CONTEXT, prepend_bos=False, eos_between_rows=False, padding="pad"
    )
    begun = time.perf_counter()
    tokenize_texts(store, "text", tokenizer, settings, out, vocab_size=tokenizer.vocab_size)
    return {"seconds": time.perf_counter() - begun, "peak": peak_memory()}


def run_theirs(texts: Path, tokenizer_folder: Path, out: Path) -> dict[str, Any]:
    """Seconds of `datasets.map` in two processes."""
    from transformers import AutoTokenizer

    import datasets

    datasets.disable_progress_bars()
    tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    dataset = datasets.Dataset.from_file(str(texts))

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        return {
            "input_ids": tokenizer(
                batch["text"], add_special_tokens=False, return_attention_mask=False, verbose=False
            )["input_ids"]
        }

    begun = time.perf_counter()
    made = dataset.map(
        encode,
        batched=True,
        num_proc=2,
        remove_columns=["text"],
        load_from_cache_file=False,
        cache_file_name=str(out / "ids.arrow"),
    )
    seconds = time.perf_counter() - begun
    column = made.data.column("input_ids")
    np.save(f"{out}.npy", np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks]))
    return {"seconds": seconds, "peak": peak_memory()}


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell a process's peak memory")


def main() -> None:
    """One contestant in a process of its own; the last line printed is its result."""
    who, work, tokenizer, out = sys.argv[1], *map(Path, sys.argv[2:])
    out.mkdir()
    if who == "theirs":
        result = run_theirs(work / "peer.arrow", tokenizer, out)
    else:
        result = run_ours(work if who == "memory" else work / "texts", tokenizer, out / "tokens")
    if who == "ours":
        from mistudio.store import TokenStore

        store = TokenStore(out / "tokens")
        np.save(
            f"{out}.npy",
            np.concatenate([store[i].astype(np.int64) for i in range(len(store))]),
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
