"""What a training records of itself beside its curves: histograms over time, early looks at features, cross-entropy
at intervals, and the environment of each attempt.

    histograms.bin         one frame each so many steps, a `store.MetricLog`  (`frames`)
    looks/step-….json      what a few latents fire on, at some steps          (`looks`)
    environment.jsonl      one line for each attempt                          (`environment`)

Nothing of it changes the training by one bit, and a training that was killed and goes on records what an unbroken one
would have. What is imported here needs no PyTorch.
"""

from mistudio.engine.recordings.environment import read_environments
from mistudio.engine.recordings.frames import HISTOGRAMS, Frames, read_frames
from mistudio.engine.recordings.looks import list_looks, read_look

__all__ = ["HISTOGRAMS", "Frames", "list_looks", "read_environments", "read_frames", "read_look"]
