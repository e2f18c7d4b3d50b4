"""Contestants of the end-to-end rows: each module drives one library the way its users do (see `bench.contest`)."""
