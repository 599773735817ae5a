"""The gallery in a real browser: it renders, it complains about nothing, no text is cut off."""

import dataclasses
import json
import re
import shutil

import pytest

from labd_host.flow.gallery import write_gallery
from support.browser import opened

# Put into a copy of the page: what the browser made of it, as JSON in the page itself.
MEASURE = """<script>
const wrong = [], seen = [];
for (const svg of document.querySelectorAll('svg.labd-graph')) {
  const boxes = [...svg.querySelectorAll('g.node, g.gone:not(.legend g)')].filter(g => g.querySelector('rect'));
  const rects = boxes.map(g => g.querySelector('rect.box').getBoundingClientRect());
  const all = svg.getBoundingClientRect();
  boxes.forEach((g, i) => {
    const r = rects[i];
    for (const text of g.querySelectorAll('text')) {
      const t = text.getBoundingClientRect();
      if (t.left < r.left || t.right > r.right || t.top < r.top - 1 || t.bottom > r.bottom + 1)
        wrong.push('out of its box: ' + text.textContent);
    }
    for (let j = 0; j < i; j++)
      if (r.left < rects[j].right && rects[j].left < r.right && r.top < rects[j].bottom && rects[j].top < r.bottom)
        wrong.push('on another: ' + g.textContent);
  });
  const texts = [...svg.querySelectorAll('text')].map(text => text.getBoundingClientRect());
  texts.forEach((t, i) => {
    if (t.right > all.right || t.bottom > all.bottom || t.width === 0) wrong.push('outside: ' + i);
    for (let j = 0; j < i; j++)
      if (t.left < texts[j].right - 1 && texts[j].left < t.right - 1 && t.top < texts[j].bottom - 4
          && texts[j].top < t.bottom - 4)
        wrong.push('text on text: ' + svg.querySelectorAll('text')[i].textContent);
  });
  seen.push([boxes.length, all.width > 300 && all.height > 300]);
}
const shown = [...document.querySelectorAll('section.stage h2')].filter(h => h.getBoundingClientRect().height > 10);
const result = document.createElement('pre');
result.id = 'measured';
result.textContent = JSON.stringify({wrong, seen, shown: shown.map(h => h.textContent),
  wide: document.documentElement.scrollWidth - window.innerWidth});
document.body.append(result);
</script></body>"""


@pytest.fixture(scope="module")
def folder(compiled, tmp_path_factory):
    """A compiled network with its gallery."""
    out = tmp_path_factory.mktemp("gallery") / "out"
    shutil.copytree(compiled.folder, out)
    write_gallery(dataclasses.replace(compiled, folder=out), 100.0)
    return out


def test_a_real_browser_shows_every_stage_and_complains_about_nothing(browser, folder, tmp_path):
    dom, complaints = opened(browser, folder / "gallery.html", tmp_path / "profile")
    assert complaints == []
    assert dom.count('<section id="stage-') == 8
    assert dom.count('class="labd-graph"') == 7
    assert "tfc-w1a1" in re.search(r"<h1>(.*?)</h1>", dom).group(1)


@pytest.mark.parametrize("flags", [(), ("--window-size=500,900",)], ids=["wide", "narrow"])
def test_the_browser_finds_no_text_cut_off_and_no_box_on_another(browser, folder, tmp_path, flags):
    page = (folder / "gallery.html").read_text()
    opening = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (tmp_path / "measured.html").write_text(opening.replace("</body>", MEASURE))
    dom, complaints = opened(browser, tmp_path / "measured.html", tmp_path / "profile", *flags)
    assert complaints == []
    measured = json.loads(re.search(r'<pre id="measured">(.*?)</pre>', dom, re.S).group(1))
    assert measured["wrong"] == []
    assert measured["wide"] <= 0, "the page itself does not scroll sideways"
    assert len(measured["seen"]) == 7 and all(visible for _, visible in measured["seen"])
    assert measured["shown"] == [
        f"{number} {name}"
        for number, name in enumerate(
            ("exported", "tidy", "prepost", "streamlined", "hardware", "partition", "folded", "golden"),
            start=1,
        )
    ]


def test_a_policy_stops_a_script_that_got_into_the_page(browser, folder, tmp_path):
    page = (folder / "gallery.html").read_text()
    script = "<script>document.body.id = 'ran'</script></body>"
    (tmp_path / "attacked.html").write_text(page.replace("</body>", script))
    dom, complaints = opened(browser, tmp_path / "attacked.html", tmp_path / "profile")
    assert 'id="ran"' not in dom
    assert any("Content Security Policy" in line for line in complaints), (
        "and complaints are seen by these tests"
    )


@pytest.mark.parametrize("name", ["1-exported", "6-partition", "7-folded"])
def test_a_picture_opens_by_itself(browser, folder, tmp_path, name):
    dom, complaints = opened(browser, folder / f"{name}.svg", tmp_path / "profile")
    assert complaints == [] and "labd-graph" in dom
    assert "error" not in dom.lower(), "a browser says so when a picture is not well-formed"
