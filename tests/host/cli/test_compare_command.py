"""`labd compare`: two runs side by side, in the terminal and on a page that a browser opens."""

import json
import re

import numpy as np
import pytest

from labd_host.cli.main import run
from labd_shared.datasets import DATASETS
from labd_shared.digest import image_digest
from labd_shared.predictions import Predictions, load_predictions, save_predictions
from support.browser import opened
from support.cifar_files import split_of, write_official
from support.paths import SHIPPED_BUNDLE

NAMES = DATASETS["cifar100"].class_names
WRONG = (2, 5, 11)  # images that the second run gets wrong

MEASURE = """<script>
const wrong = [];
for (const card of document.querySelectorAll('.sample')) {
  const box = card.getBoundingClientRect();
  for (const each of card.children) {
    const inside = each.getBoundingClientRect();
    if (inside.left < box.left || inside.right > box.right || inside.bottom > box.bottom) wrong.push(each.outerHTML);
  }
}
const images = [...document.images];
const result = document.createElement('pre');
result.id = 'measured';
result.textContent = JSON.stringify({wrong, cards: document.querySelectorAll('.sample').length,
  loaded: images.map(image => [image.naturalWidth, image.naturalHeight]),
  wide: document.documentElement.scrollWidth - window.innerWidth});
document.body.append(result);
</script></body>"""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Predictions of two runs over a small CIFAR-100, the second in reverse order."""
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    write_official(tmp_path / "data" / "cifar100", "cifar100")
    images, labels = split_of("cifar100", "test")
    digests = np.array([image_digest(image.tobytes()) for image in images], np.uint64)
    labels = labels.astype(np.int32)
    worse = labels.copy()
    worse[list(WRONG)] = (worse[list(WRONG)] + 1) % 100
    files = []
    for name, order, said in (("a", slice(None), labels), ("b", slice(None, None, -1), worse)):
        about = {
            "network": f"net-{name}",
            "dataset": "cifar100",
            "split": "test",
            "target": "emu",
            "source": name,
        }
        kept = Predictions(about, np.arange(20), digests[order], labels[order], said[order])
        save_predictions(tmp_path / f"{name}.npz", kept)
        files.append(str(tmp_path / f"{name}.npz"))
    return files


def test_the_samples_that_differ_are_listed_by_their_names(runs, capsys):
    _, labels = split_of("cifar100", "test")
    assert run(["compare", *runs]) == 0
    said = capsys.readouterr().out
    assert "3 of 20 images differ" in said and "17 of 20" in said
    for place in WRONG:
        label = int(labels[place])
        line = next(line for line in said.splitlines() if line.startswith(f"{place} "))
        assert line.split()[2:] == [NAMES[label], NAMES[label], NAMES[(label + 1) % 100]]
    assert "every difference with its picture: compare.html" in said


def test_json_has_every_difference(runs, capsys):
    assert run(["compare", "--json", "-o", "page.html", *runs]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [each["row"] for each in report["differences"]] == list(WRONG)
    assert (report["correct_a"], report["correct_b"], report["page"]) == (20, 17, "page.html")
    assert report["chance"] == pytest.approx(0.25)


def test_the_page_carries_the_pictures_of_what_differs(runs, tmp_path, capsys):
    assert run(["compare", *runs]) == 0
    page = (tmp_path / "compare.html").read_text()
    assert page.count("data:image/png;base64,") == page.count('class="sample"') == 3
    assert "default-src 'none'" in page and "<script" not in page
    assert run(["compare", "--pictures", "1", *runs]) == 0
    page = (tmp_path / "compare.html").read_text()
    assert page.count('class="sample"') == 1 and "The first 1 of 3." in page


def test_without_the_data_set_the_page_is_without_pictures(runs, tmp_path, monkeypatch, capsys):
    for name in ("a", "b"):
        kept = load_predictions(f"{name}.npz")
        save_predictions(f"{name}.npz", kept._replace(about={**kept.about, "dataset": "dir:cats"}))
    assert run(["compare", *runs]) == 0
    heard = capsys.readouterr()
    assert "the page is without pictures" in heard.err and "class " in heard.out
    assert (tmp_path / "compare.html").read_text().count("no picture") == 3


def test_names_from_outside_are_never_markup(runs, tmp_path):
    kept = load_predictions("a.npz")
    save_predictions("a.npz", kept._replace(about={**kept.about, "network": "<script>alert(1)</script>"}))
    assert run(["compare", *runs]) == 0
    page = (tmp_path / "compare.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page


def test_a_bundle_and_its_own_predictions_say_the_same(mnist_test, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    wanted = ["validate", str(SHIPPED_BUNDLE), "--limit", "300", "--predictions", "p.npz"]
    assert run(wanted) == 0
    assert run(["compare", str(SHIPPED_BUNDLE), "p.npz", "--limit", "400"]) == 0
    said = capsys.readouterr().out
    assert "0 of 300 images differ" in said
    assert "Both runs say the same of every image." in (tmp_path / "compare.html").read_text()


def test_a_file_that_is_neither_is_refused(runs, tmp_path, capsys):
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 cut short")
    assert run(["compare", "a.npz", "c.npz"]) == 5
    assert "c.npz" in capsys.readouterr().err
    assert run(["compare", "a.npz", "d.npz"]) == 2
    assert "there is no d.npz" in capsys.readouterr().err
    assert run(["compare", "a.npz", "b.npz", "-o", str(tmp_path / "no" / "page.html")]) == 2
    assert "page.html cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [(), ("--window-size=500,900",)], ids=["wide", "narrow"])
def test_a_browser_shows_every_picture_and_cuts_nothing_off(browser, runs, tmp_path, flags):
    assert run(["compare", *runs]) == 0
    _, complaints = opened(browser, tmp_path / "compare.html", tmp_path / "profile")
    assert complaints == []
    page = (tmp_path / "compare.html").read_text()
    opening = re.sub(r'<meta content="[^"]*" http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert opening != page
    (tmp_path / "measured.html").write_text(opening.replace("</body>", MEASURE))
    dom, complaints = opened(browser, tmp_path / "measured.html", tmp_path / "profile", *flags)
    measured = json.loads(re.search(r'<pre id="measured">(.*?)</pre>', dom, re.S).group(1))
    assert complaints == [] and measured["wrong"] == []
    assert measured["cards"] == 3 and measured["loaded"] == [[32, 32]] * 3
    assert measured["wide"] <= 0, "the page itself does not scroll sideways"
