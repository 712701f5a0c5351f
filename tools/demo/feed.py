"""Feeds training with packed rows: worker processes generate conversations, encode and pack them into shared memory.

A batch is tokens, segments and targets' classes, each [ROWS, LENGTH]: class 0 is padding, 1 what is read, 2 what the
assistant says. Whole conversations are packed, none is cut. One batch a slot of the shared block; the numbers of free and
of full slots travel through queues. Workers ignore the terminal's interrupt and end with their parent.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from itertools import islice
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import world

LENGTH = 1024
READ, SAID = 1, 2
AT_ONCE = 256  # conversations encoded together


class Encoder:
    """Conversations to tokens and classes."""

    def __init__(self, folder: Path):
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.start, self.end, self.think, self.unthink = (
            self.tokenizer.token_to_id(t) for t in ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
        )
        self.assistant = self.tokenizer.encode("assistant\n", add_special_tokens=False).ids

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [e.ids for e in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def classes(self, ids: np.ndarray) -> np.ndarray:
        """What the assistant says begins after <think> and its newline, or after <think></think>; it ends with <|im_end|>."""
        out = np.full(len(ids), READ, np.uint8)
        ends = np.flatnonzero(ids == self.end)
        n = len(self.assistant)
        for start in np.flatnonzero(ids == self.start):
            if ids[start + 1 : start + 1 + n].tolist() == self.assistant:
                out[start + 3 + n : ends[np.searchsorted(ends, start)] + 1] = SAID
        return out


def packed(lengths: list[int], rows: int) -> list[list[int]]:
    """First fit by falling length: which items lie in which row. Items that fit nowhere are left out."""
    space, bins = [LENGTH] * rows, [[] for _ in range(rows)]
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        for row in range(rows):
            if space[row] >= lengths[i]:
                space[row] -= lengths[i]
                bins[row].append(i)
                break
    return bins


def batches(folder: Path, seed: int, rows: int):
    """Batches [3, rows, LENGTH] uint16 without end."""
    encoder, samples, waiting = Encoder(folder), world.training(seed), []
    rng = np.random.default_rng(seed)
    while True:
        while sum(map(len, waiting)) < rows * LENGTH * 1.02:
            texts = [world.text_of(s) for s in islice(samples, AT_ONCE)]
            waiting += [np.array(ids, np.uint16) for ids in encoder.encode(texts) if len(ids) <= LENGTH]
        out = np.zeros((3, rows, LENGTH), np.uint16)
        bins = packed(list(map(len, waiting)), rows)
        for row, items in enumerate(bins):
            at = 0
            for number, i in enumerate(rng.permutation(items), 1):
                ids = waiting[i]
                out[0, row, at : at + len(ids)], out[1, row, at : at + len(ids)] = ids, number
                out[2, row, at : at + len(ids)] = encoder.classes(ids)
                at += len(ids)
        used = {i for items in bins for i in items}
        waiting = [w for i, w in enumerate(waiting) if i not in used]
        yield out


def work(folder: Path, seed: int, rows: int, block_name: str, slots: int, free, full, stop) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    block = shared_memory.SharedMemory(block_name)
    ring = np.ndarray((slots, 3, rows, LENGTH), np.uint16, block.buf)
    made = batches(folder, seed, rows)
    parent = os.getppid()
    while not stop.is_set() and os.getppid() == parent:
        batch = next(made)
        while not stop.is_set() and os.getppid() == parent:
            try:
                slot = free.get(timeout=1)
            except queue.Empty:
                continue
            ring[slot] = batch
            full.put(slot)
            break
    del ring
    block.close()


class Feed:
    def __init__(self, folder: Path, seed: int, rows: int, workers: int):
        slots = 2 * workers + 4
        context = multiprocessing.get_context("fork")  # before anything of the device is touched: no worker does
        self.block = shared_memory.SharedMemory(create=True, size=slots * 3 * rows * LENGTH * 2)
        self.ring = np.ndarray((slots, 3, rows, LENGTH), np.uint16, self.block.buf)
        self.free, self.full, self.stop = context.Queue(), context.Queue(), context.Event()
        arguments = (rows, self.block.name, slots, self.free, self.full, self.stop)
        self.workers = [
            context.Process(target=work, args=(folder, 1000 * seed + i, *arguments), daemon=True) for i in range(workers)
        ]
        for worker in self.workers:
            worker.start()
        for slot in range(slots):
            self.free.put(slot)

    def take(self, wait: bool) -> np.ndarray | None:
        """A copy of the next batch; none when none is there and there is no waiting."""
        try:
            slot = self.full.get(timeout=120) if wait else self.full.get_nowait()
        except queue.Empty:
            if wait:
                raise
            return None
        batch = self.ring[slot].copy()
        self.free.put(slot)
        return batch

    def close(self) -> None:
        self.stop.set()
        for worker in self.workers:
            worker.join(timeout=5)
            if worker.is_alive():
                worker.kill()
        del self.ring
        self.block.close()
        self.block.unlink()
