"""What the command line asks for: a file, a template and options make one request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mistudio.domains import all_domains, template_kinds
from mistudio.engine.runs import SettingsRefused
from mistudio.errors import StudioError
from mistudio.sae.config import BatchTopKConfig, JumpReLUConfig, TrainerConfig
from mistudio.templates.kinds import register_template_kinds
from mistudio.templates.library import add_template
from mistudio.templates.schemas import TemplateCreate
from mistudio.training.requests import request_of
from tests.training.conftest import HOOK

FILE = """\
hooks = ["blocks.0.hook_resid_post"]
sources = [{tokenization_id = "tk_1"}]
held_out_tokens = 5
[config]
d_sae = 64
architecture.k = 4
"""


def test_options_name_settings_as_the_library_does(database: Any) -> None:
    def config(*settings: str) -> TrainerConfig:
        with database.reading() as session:
            return request_of(session, None, sources=["tk_1"], hooks=[HOOK], settings=settings).config

    assert config("k=16").architecture == BatchTopKConfig(k=16)
    assert config("architecture.k=16").architecture == BatchTopKConfig(k=16)
    assert config("architecture=jump_relu").architecture == JumpReLUConfig()
    assert config("architecture=jump_relu", "target_l0=").architecture == JumpReLUConfig(target_l0=None)
    assert config("optimizer.weight_decay=0.1").optimizer.weight_decay == 0.1
    assert config("latent_dim=128").d_sae == 128
    with pytest.raises(SettingsRefused, match="no setting 'learning_rat'"):
        config("learning_rat=1")
    with pytest.raises(StudioError, match="not NAME=VALUE"):
        config("k")


def test_the_later_beats_the_earlier(database: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(FILE)
    register_template_kinds(template_kinds(all_domains()))
    with database.session() as session:
        kept = {"config": {"architecture": {"kind": "topk", "k": 8}, "d_sae": 256, "learning_rate": 1e-3}}
        add_template(session, TemplateCreate(kind="training", name="mine", body=kept))
        found = request_of(
            session,
            file,
            template="mine",
            sources=["tk_2", "tk_3=2.5"],
            settings=["d_sae=512"],
            grid=["k=2,4", 'decay=["linear","cosine"]'],
            harvest=["skip_bos=false"],
            name="it",
        )
    assert (found.name, found.held_out_tokens, found.hooks) == ("it", 5, ["blocks.0.hook_resid_post"])
    assert [(one.tokenization_id, one.weight) for one in found.sources] == [("tk_2", 1.0), ("tk_3", 2.5)]
    config = found.config
    assert (config.d_sae, config.learning_rate) == (512, 1e-3)
    assert (config.architecture.kind, config.architecture.k) == ("topk", 4)  # pyright: ignore
    assert found.grid == {"k": [2, 4], "decay": ["linear", "cosine"]}
    assert found.harvest is not None and found.harvest.skip_bos is False
    assert found.template_id is not None


def test_a_templates_grid_is_tried_but_for_what_options_set(database: Any) -> None:
    register_template_kinds(template_kinds(all_domains()))
    kept = {"config": {"d_sae": 256}, "grid": {"k": [4, 8], "learning_rate": [1e-4, 1e-3]}}
    with database.session() as session:
        add_template(session, TemplateCreate(kind="training", name="both", body=kept))
        found = request_of(
            session,
            None,
            template="both",
            sources=["tk_1"],
            hooks=[HOOK],
            settings=["architecture.k=16"],
            cache_id="ac_1",
        )
    assert found.grid == {"learning_rate": [1e-4, 1e-3]}
    assert found.config.architecture == BatchTopKConfig(k=16)
    assert found.harvest is None, "a cache was harvested under its own settings"


def test_a_cache_knows_its_tokens_and_its_hook_point(database: Any, tokens: str, cache: str) -> None:
    with database.reading() as session:
        found = request_of(session, None, cache_id=cache)
        with pytest.raises(StudioError, match="ac_none"):
            request_of(session, None, hooks=[HOOK], cache_id="ac_none")
        with pytest.raises(StudioError) as refused:
            request_of(session, None, hooks=[HOOK])
    assert [source.tokenization_id for source in found.sources] == [tokens] and found.hooks == [HOOK]
    assert refused.value.fields == {"sources": "is needed"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FILE + "d_sea = 1\n", "config.toml:7: config.d_sea is no setting here."),
        (FILE.replace("d_sae = 64", "d_sae = 0"), "config.toml:5: config.d_sae:"),
        (FILE.replace("[config]", "[config"), "config.toml:4: This is not TOML"),
    ],
)
def test_a_fault_in_a_file_names_its_line(database: Any, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    for settings in ((), ("learning_rate=1e-3",)):
        with database.reading() as session, pytest.raises(StudioError) as refused:
            request_of(session, file, settings=settings)
        assert said in refused.value.message
    with database.reading() as session, pytest.raises(StudioError, match="There is no file"):
        request_of(session, tmp_path / "none.toml")
