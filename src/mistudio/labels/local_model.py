"""Labels by a chat model on this machine.

Needs PyTorch: import it only in jobs and notebooks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mistudio.labels.evidence import Evidence
from mistudio.labels.labeller import Check, Failed, Found, Question
from mistudio.labels.prompts import Messages, label_messages, read_label, yes_no_messages
from mistudio.labels.schemas import LabellingPrompt, ScoreMethod
from mistudio.lm import LanguageModel, TokensRefused, format_hook
from mistudio.lm.generation import GenerationRow, generate_batch, prompt_tokens

_NEW_TOKENS = 32
_ROWS = 8


class LocalLabeller:
    """Labels and detection by a loaded chat model, in batches of 8. Greedy: the same evidence gives the same label.

    Raises LanguageModelError on first use for a model without a chat template.
    """

    method: ScoreMethod = "detection"
    others = 1

    def __init__(
        self, model: LanguageModel, name: str, *, examples: int, prompt: LabellingPrompt | None = None
    ) -> None:
        self.source = f"machine:local:{name}"
        self._model = model
        self._examples, self._prompt = examples, prompt
        self._yes = self._first_tokens("Yes", " Yes", "yes", " yes")
        self._no = self._first_tokens("No", " No", "no", " no")

    def _first_tokens(self, *texts: str) -> list[int]:
        encode = self._model.tokenizer
        return sorted({encode(text, add_special_tokens=False)["input_ids"][0] for text in texts})

    def find(self, evidence: Sequence[Evidence], check: Check) -> list[Found | Failed]:
        """A label for each feature."""
        prompts = [self._fitting(one) for one in evidence]
        places = [place for place, ids in enumerate(prompts) if ids is not None]
        answers = dict.fromkeys(places, "")
        for start in range(0, len(places), _ROWS):
            part = places[start : start + _ROWS]
            rows = [GenerationRow(prompts[place] or []) for place in part]
            for step in generate_batch(self._model, rows, max_new_tokens=_NEW_TOKENS, stop=["\n"]):
                check()
                for token in step:
                    answers[part[token.row]] += token.text
        found: list[Found | Failed] = []
        for place, one in enumerate(evidence):
            text = read_label(answers.get(place, ""))
            if not one.shown:
                found.append(Failed("it has no examples", skipped=True))
            elif place not in answers:
                found.append(Failed("its examples do not fit into the model's context"))
            else:
                found.append(Found(text) if text else Failed("the model's answer holds no label"))
        return found

    def _fitting(self, evidence: Evidence) -> list[int] | None:
        """The prompt with as many examples as the model's context has room for; None when it has none for one."""
        examples = self._examples
        while examples and evidence.shown:
            ids = self._tokens(label_messages(evidence.shown, examples, self._prompt))
            if ids is not None:
                return ids
            examples = examples * 2 // 3
        return None

    def _tokens(self, messages: Messages) -> list[int] | None:
        """The prompt's tokens; None when they and an answer do not fit into the model's context."""
        try:
            ids = prompt_tokens(self._model, messages)
        except TokensRefused:
            return None
        limit = self._model.context_limit
        return ids if limit is None or len(ids) + _NEW_TOKENS <= limit else None

    def hold(self, questions: Sequence[Question], check: Check) -> list[list[float] | Failed]:
        """Detection, one passage at a time: log P(Yes) - log P(No) for the first token of the answer."""
        prompts = [
            [self._tokens(yes_no_messages(question.label.text, passage)) for passage in question.passages]
            for question in questions
        ]
        asked = [
            (number, ids)
            for number, own in enumerate(prompts)
            if None not in own
            for ids in own
            if ids is not None
        ]
        # Prompts of similar length together, so that little is padded.
        order = sorted(range(len(asked)), key=lambda i: len(asked[i][1]))
        predictions = [0.0] * len(asked)
        for start in range(0, len(order), _ROWS):
            check()
            part = order[start : start + _ROWS]
            for place, value in zip(part, self._leaning([asked[i][1] for i in part]), strict=True):
                predictions[place] = value
        found: list[list[float] | Failed] = [
            Failed("a passage does not fit into the model's context") if None in own else []
            for own in prompts
        ]
        for (number, _), value in zip(asked, predictions, strict=True):
            answers = found[number]
            if not isinstance(answers, Failed):
                answers.append(value)
        return found

    @torch.no_grad()
    def _leaning(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        """log P(yes) - log P(no) of the next token, per prompt. Logits of the last positions only are computed."""
        width = max(map(len, prompts))
        tokens = torch.tensor([[*ids, *[ids[0]] * (width - len(ids))] for ids in prompts])
        lengths = torch.tensor([len(ids) for ids in prompts])
        mask = torch.arange(width) < lengths.unsqueeze(1)
        hook = format_hook(self._model.n_layers - 1, "resid_post")
        residual = self._model.activations(tokens, [hook], mask)[hook]
        last = residual[torch.arange(len(prompts), device=residual.device), (lengths - 1).to(residual.device)]
        logits = self._model.logit_lens(last).float()
        yes, no = (torch.logsumexp(logits[:, ids], -1) for ids in (self._yes, self._no))
        return (yes - no).tolist()
