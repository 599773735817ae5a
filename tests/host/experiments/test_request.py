"""What a study may ask for, and what is refused with the nearest that is legal."""

import re

import pytest

from labd_host.experiments.request import FOUND, PART3, read_request
from labd_shared.errors import ArtifactError, LabdError, UnknownName, UsageError

LEAST = """
name = "mine"
networks = ["tfc-w1a1"]
[[experiments]]
name = "Exp1"
folding = "lab"
"""


def study(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_part_3_of_the_lab_ships():
    request = read_request(PART3)
    assert request.networks == ("tfc-w1a1", "cnv-w1a1")
    first, second, *own = request.experiments
    assert (first.name, first.folding) == (request.baseline, "lab")
    assert (second.name, second.change) == ("Exp1", {"layer 2": {"PE": 1, "SIMD": 1}})
    for network in request.networks:  # "Exp2: at least three own sets"
        assert len([asked for asked in own if asked.network in ("", network)]) >= 3
    assert {asked.folding for asked in own} >= {"cheapest", "fastest", "set-folding"}


def test_the_least_a_study_says(tmp_path):
    request = read_request(study(tmp_path, LEAST))
    assert (request.clocks_mhz, request.part, request.frames, request.board) == ((100.0,), "xc7z020", 10, "")
    assert request.title == "mine"
    assert request.folder == tmp_path


@pytest.mark.parametrize(
    ("before", "after", "error", "says"),
    [
        ("networks =", "network =", UnknownName, "did you mean 'networks'"),
        ('"tfc-w1a1"', '"tfc-w1a11"', UnknownName, "did you mean 'tfc-w1a1'"),
        ("folding =", "foldin =", UnknownName, "did you mean 'folding'"),
        ('folding = "lab"', "", ArtifactError, "experiments[0].folding is missing"),
        (
            'folding = "lab"',
            'folding = "../lab.json"',
            ArtifactError,
            "'../lab.json', a file beside the study is wanted",
        ),
        ('folding = "lab"', 'folding = "cheapest"', UsageError, "gives 0 rates"),
        ('"lab"', '"lab"\ntarget_fps = 10', UsageError, "takes no rate"),
        ('"lab"', '"cheapest"\nas_fast_as = "Exp2"', UnknownName, "no experiment before Exp1"),
        ('"lab"', '"cheapest"\ntarget_fps = 1e12', ArtifactError, "from 0.001 to 1000000000.0"),
        ('"lab"', '"lab"\nchange = { "layer 2" = { PEs = 1 } }', UnknownName, "did you mean 'PE'"),
        ('"lab"', '"lab"\nchange = { "layer 2" = { PE = true } }', ArtifactError, "layer 2.PE is true"),
        ('"lab"', '"lab"\nchange = [1]', ArtifactError, "change is a list of 1 entries"),
        (
            'name = "Exp1"',
            'name = "../Exp1"',
            ArtifactError,
            "experiments[0].name is '../Exp1', a name of letters",
        ),
        (
            'name = "mine"',
            'name = "mine"\nclocks_mhz = [1000]',
            ArtifactError,
            "clocks_mhz[0] is 1000, a number from 1.0 to 250.0",
        ),
        ('name = "mine"', 'name = "mine"\nclocks_mhz = [100, 100.0]', ArtifactError, "names nothing twice"),
        ('name = "mine"', 'name = "mine"\nframes = 1', ArtifactError, "from 2 to 1000"),
        ('name = "mine"', 'name = "mine"\nboard = "3"', ArtifactError, 'a number like "03" is wanted'),
        ('name = "mine"', 'name = "mine"\npart = "xc7z02"', UnknownName, "did you mean 'xc7z020'"),
        ('name = "mine"', 'name = "mine"\nbaseline = "Exp"', UnknownName, "did you mean 'Exp1'"),
        ("[[experiments]]", "[[experiments]]\n[experiments.x]", UnknownName, "key of an experiment"),
        ("[[experiments]]", "[[experiment]]", UnknownName, "did you mean 'experiments'"),
        ("networks = [", "networks = 5 #", ArtifactError, "a list of 1 to 20 entries is wanted"),
        ("name =", "name", ArtifactError, "not TOML"),
        ("name =", "x = " + "[" * 100000 + "\nname =", ArtifactError, "nested too deep"),
        ('"lab"', '"cheapest"\ntarget_fps = 1' + "0" * 400, ArtifactError, "target_fps is a number of"),
        ('"lab"', '"cheapest"\ntarget_fps = nan', ArtifactError, "target_fps is nan"),
        ('name = "mine"', 'name = "mine"\nname = "yours"', ArtifactError, "not TOML"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(tmp_path, before, after, error, says):
    path = study(tmp_path, LEAST.replace(before, after, 1))
    with pytest.raises(error, match=re.escape(says)) as caught:
        read_request(path)
    assert "mine.toml" in str(caught.value)


def test_two_experiments_of_one_name_are_refused_for_the_same_network_only(tmp_path):
    twice = LEAST + '[[experiments]]\nname = "Exp1"\nfolding = "lab"\n'
    with pytest.raises(UsageError, match="two experiments of tfc-w1a1 are called Exp1"):
        read_request(study(tmp_path, twice))
    apart = LEAST.replace('["tfc-w1a1"]', '["tfc-w1a1", "cnv-w1a1"]')
    apart = apart.replace('folding = "lab"', 'folding = "lab"\nnetwork = "tfc-w1a1"')
    apart += '[[experiments]]\nname = "Exp1"\nfolding = "lab"\nnetwork = "cnv-w1a1"\n'
    assert len(read_request(study(tmp_path, apart)).experiments) == 2


def test_files_that_are_none_or_too_large_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_request(tmp_path / "none.toml")
    with pytest.raises(ArtifactError, match="more than"):
        read_request(study(tmp_path, "#" * (1 << 19)))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match="not TOML"):
        read_request(tmp_path / "bytes.toml")


@pytest.mark.parametrize("folding", FOUND)
def test_every_folding_that_labd_finds_can_be_asked_for(tmp_path, folding):
    rate = "target_fps = 1000" if folding in ("cheapest", "set-folding") else ""
    text = LEAST.replace('folding = "lab"', f'folding = "{folding}"\n{rate}')
    assert read_request(study(tmp_path, text)).experiments[0].folding == folding


def test_a_broken_study_never_shows_a_traceback(tmp_path, rng):
    """Any single character replaced: it is read, or refused by one of our own errors."""
    text = PART3.read_text()
    start = text.index('name = "part3"')
    for _ in range(60):
        at = rng.randint(start, len(text))
        broken = text[:at] + rng.choice(list("=\"[]{}#x1\n'.")) + text[at + 1 :]
        try:
            read_request(study(tmp_path, broken))
        except LabdError as error:
            assert error.what
