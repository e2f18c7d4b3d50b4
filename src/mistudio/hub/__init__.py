"""The Hugging Face hub, or a mirror of it: its token, its errors, its transfers. All traffic is `huggingface_hub`'s."""

from mistudio.domain import Domain

domain = Domain(name="hub", router="mistudio.hub.routes:router", commands="mistudio.hub.commands:app")
