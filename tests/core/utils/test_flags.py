import argparse
import dataclasses

import pytest

from core.qat.config import REGULARIZERS, OdmConfig
from core.training.loop import TrainConfig
from core.utils.flags import add_flags, flags, from_flags


def parsed(cls, arguments, **choices):
    parser = argparse.ArgumentParser()
    add_flags(parser, cls, {field.name: "100 %" for field in dataclasses.fields(cls)}, **choices)
    assert "100 %; by default 2" in parser.format_help() or cls is not OdmConfig
    return from_flags(cls, parser.parse_args(arguments))


@pytest.mark.parametrize(
    "config",
    [
        OdmConfig(),
        OdmConfig(4, "v1", "naive", False, True, lr=1e-4, lambda_m=0.0, seed=3),
        TrainConfig(warmup=0.1, bfloat16=True),
    ],
)
def test_a_configuration_comes_back_by_its_flags(config):
    assert parsed(type(config), flags(config)) == config


def test_flags_that_cannot_be(capsys):
    for wrong in (["--regularizer=strong"], ["--steps=many"], ["--no-seed"]):
        with pytest.raises(SystemExit):
            parsed(OdmConfig, wrong, regularizer=REGULARIZERS)
    assert "invalid choice: 'strong'" in capsys.readouterr().err
