import pytest

from core.ptq.methods import EVERY_METHOD
from explorer.choices.help import HELP, METHOD_HELP
from explorer.choices.state import FIELDS, ExplorerState
from explorer.page.glossary import WORDS, glossary


@pytest.mark.parametrize("name", FIELDS)
def test_every_choice_has_a_text_that_is_more_than_its_label(name):
    assert ExplorerState.param[name].doc == HELP[name]
    assert len(HELP[name].split()) >= 4
    assert HELP[name].lower() != name.replace("_", " ")


def test_no_text_is_of_a_choice_that_is_gone():
    assert set(HELP) == set(FIELDS)


def test_every_method_is_explained():
    assert set(METHOD_HELP) == set(EVERY_METHOD)
    assert all(text and text not in name for name, text in METHOD_HELP.items())
    text = glossary()
    assert all(f"<dt>{name}</dt>" in text for name in (*METHOD_HELP, *WORDS))
