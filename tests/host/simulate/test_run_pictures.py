"""The picture and the animation of a simulated run."""

import json
import re
from xml.etree import ElementTree

import pytest

from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import load_folding
from labd_host.networks import NETWORKS
from labd_host.simulate.animation import page
from labd_host.simulate.pipeline import assemble
from labd_host.simulate.run_picture import draw
from labd_host.simulate.simulator import simulate
from support.browser import find_browser, opened

# Runs after the page's own script: presses its buttons and writes what it then shows into the page.
PRESS = """<script>
const wrong = [];
function look() {
  return {
    now: document.getElementById("now").textContent,
    states: [...document.querySelectorAll(".unit .state")].map(each => each.textContent),
    words: [...document.querySelectorAll(".words")].map(each => each.textContent),
    colours: [...document.querySelectorAll(".unit")].map(each => getComputedStyle(each).backgroundColor),
    wide: document.documentElement.scrollWidth - window.innerWidth,
  };
}
const slider = document.getElementById("step");
const seen = {first: look()};
document.getElementById("forward").click();
seen.second = look();
slider.value = 60;
slider.dispatchEvent(new Event("input"));
seen.sixtieth = look();
slider.value = slider.max;
slider.dispatchEvent(new Event("input"));
document.getElementById("forward").click();
seen.last = look();
const result = document.createElement("pre");
result.id = "seen";
result.textContent = JSON.stringify(seen);
document.body.append(result);
</script></body>"""


@pytest.fixture(scope="module")
def tfc():
    design = design_of(NETWORKS["tfc-w1a1"]).folded(load_folding("lab", "tfc-w1a1"))
    return simulate(assemble(design), 2, trace_rows=1500)


def test_the_picture_names_every_unit_and_fifo_and_is_the_same_every_time(tfc):
    picture = draw(tfc, 100.0)
    texts = {
        "".join(each.itertext())
        for each in ElementTree.fromstring(picture).iter()
        if each.tag.endswith("}text")
    }
    assert {unit.name for unit in tfc.machine.units if "Converter" not in unit.name} <= texts
    assert {f"{fifo.name}, depth {fifo.depth}" for fifo in tfc.machine.fifos} <= texts
    assert "tfc-w1a1: first frame after 315 cycles, then one every 98: 1,020,408 frames/s at 100 MHz" in texts
    assert draw(tfc, 100.0) == picture
    assert "http" not in re.sub(
        r'(xmlns(:\w+)?|rdf:about|rdf:resource)="[^"]*"|"-//W3C[^>]*>', "", picture
    ).replace("https://matplotlib.org/", "")


def test_the_animation_holds_the_whole_run(tfc):
    text = page(tfc, 100.0)
    record = json.loads(re.search(r'<script type="application/json" id="run">(.*?)</script>', text).group(1))
    assert tfc.trace.bucket_cycles == 1
    assert [len(each) for each in record["units"]] == [tfc.cycles] * len(tfc.machine.units)
    assert [max(each) for each in record["fifos"]] == list(tfc.high_water)
    assert record["units"][0].count("1") == 2 * 98, "the DMA works a beat a cycle"
    assert record["finished"] == list(tfc.finished)
    assert not re.search(r'(src|href)="', text), "nothing is loaded"


def test_a_run_without_a_trace_is_not_drawn(tfc):
    with pytest.raises(ValueError, match="not traced"):
        page(simulate(tfc.machine), 100.0)
    with pytest.raises(ValueError, match="not traced"):
        draw(simulate(tfc.machine), 100.0)


@pytest.fixture(scope="module")
def browser():
    return find_browser()


def test_a_browser_shows_the_page_as_it_is_and_complains_about_nothing(browser, tfc, tmp_path):
    file = tmp_path / "run.html"
    file.write_text(page(tfc, 100.0), encoding="utf-8")
    shown, complaints = opened(browser, file, tmp_path / "profile")
    assert complaints == []
    assert "cycle 0, 0 of 2 frames done" in shown, "the policy lets the page's own script run"


def test_a_student_can_step_through_it(browser, tfc, tmp_path):
    text = page(tfc, 100.0)
    pressed = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace("</body>", PRESS)
    file = tmp_path / "pressed.html"
    file.write_text(pressed, encoding="utf-8")
    shown, complaints = opened(browser, file, tmp_path / "profile")
    assert complaints == []
    seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', shown, re.DOTALL).group(1))
    assert seen["second"]["now"] == "cycle 1, 0 of 2 frames done"
    assert seen["last"]["now"] == f"cycle {tfc.cycles - 1}, 2 of 2 frames done"
    row = tfc.trace.units[60].argmax(axis=1)
    said = {0: "idle: restarts, or done", 1: "works", 2: "starves: no input", 3: "is blocked: no room behind"}
    assert seen["sixtieth"]["states"] == [said[state] for state in row]
    levels = [
        f"{words} of {fifo.depth}" for words, fifo in zip(tfc.trace.fifos[60], tfc.machine.fifos, strict=True)
    ]
    assert seen["sixtieth"]["words"] == levels
    assert len(set(seen["sixtieth"]["colours"])) == len(set(row))
    assert all(each["wide"] <= 0 for each in seen.values()), "nothing runs over the edge"
