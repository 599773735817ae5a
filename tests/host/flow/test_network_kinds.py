"""Every kind of network that docs/networks-taken.md names is taken, or refused, as it says."""

import pytest

from support.network_kinds import KINDS, PAGE, compiled, page


def test_the_page_says_what_labd_says(tmp_path):
    assert PAGE.read_text(encoding="utf-8") == page(tmp_path), "make kinds writes it"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.refused], ids=lambda kind: kind.name)
def test_a_kind_that_is_taken_is_proven_and_answers_as_the_export(kind, tmp_path):
    made = compiled(kind, tmp_path)
    answers = made.stages[-1]
    assert (answers.name, answers.proof.images) == ("answers", 60)
    assert not [note for note in made.notes if "not compared" in note or "left out" in note]
