"""What a training records of itself beside its curves: histograms over time, early looks at features, cross-entropy
at intervals, and the environment of each attempt.

    histograms.bin         one frame each so many steps, a `store.MetricLog`  (`frames`)
    looks/step-….json      what a few latents fire on, at some steps          (`looks`)
    environment.jsonl      one line for each attempt                          (`environment`)

Nothing of it changes the training by one bit, and a training that was killed and goes on records what an unbroken one
would have. `frames`, `looks` and `environment` import no PyTorch.
"""
